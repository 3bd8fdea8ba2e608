//! A box as a process, and callers who call it over SIP and RTP.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use audio::dsp::resample::{f32_of, i16_of};
use audio::wav::Pieces;
use daemon::caller::sounds::Renderer;
use daemon::caller::turn_taker::{Cue, Patience};
use daemon::caller::{CallPlan, CallReport, Line, Protection, place};
use daemon::config::Config;
use daemon::storage::{ConversationTurn, Reader, SessionDetail, find_by_sip_call_id, session_detail};
use tests::offhook::Offhook;
use tokio::runtime::{Builder, Runtime};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offhook-under-test");
/// How long a box that has started may take to have its answers ready.
const REHEARSED_WITHIN: Duration = Duration::from_secs(180);
/// How long the box's last row may take.
const ROWS_WITHIN: Duration = Duration::from_secs(10);

/// The voice that callers have.
pub(crate) struct Voice(Mutex<Renderer>);

impl Voice {
    pub(crate) fn load() -> Voice {
        Voice(Mutex::new(Renderer::load(&Config::default()).unwrap()))
    }

    /// 8 kHz, ±1, without silence at its end.
    pub(crate) fn sound(&self, text: &str) -> Vec<f32> {
        self.0.lock().unwrap().render(text).unwrap().iter().map(|sample| f32_of(*sample)).collect()
    }

    pub(crate) fn line(&self, text: &str, cue: Cue) -> Line {
        line(text, &self.sound(text), cue)
    }
}

/// A line that sounds like this.
pub(crate) fn line(label: &str, sound: &[f32], cue: Cue) -> Line {
    let samples: Vec<i16> = sound.iter().map(|sample| i16_of(*sample)).collect();
    Line::Say { label: label.to_owned(), samples: samples.into(), cue }
}

/// A box that is called.
pub(crate) struct Called {
    offhook: Offhook,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

/// A call that is over: what the caller heard, and what the box wrote down.
pub(crate) struct Call {
    pub(crate) report: CallReport,
    pub(crate) detail: SessionDetail,
    recording: PathBuf,
}

impl Call {
    /// What the caller said and what they heard, sample by sample.
    pub(crate) fn channels(&self) -> (Vec<i16>, Vec<i16>) {
        let mut pieces = Pieces::new(BufReader::new(File::open(&self.recording).unwrap())).unwrap();
        let samples = pieces.next_piece(usize::MAX / 8).unwrap();
        samples.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip()
    }

    /// What the box heard, in order.
    pub(crate) fn heard(&self) -> Vec<&str> {
        self.detail.turns.iter().map(text).collect()
    }
}

/// The transcript of a turn.
pub(crate) fn text(turn: &ConversationTurn) -> &str {
    turn.text.reveal()
}

impl Called {
    /// Starts a box with these settings and everything else as it comes.
    pub(crate) fn start(settings: &[&str]) -> Called {
        let folder = tempfile::tempdir().unwrap();
        let offhook = Offhook::start(Path::new(PROGRAM), folder.path(), settings);
        let runtime = Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
        let called = Called { offhook, folder, runtime };
        // Not measured: a box that has just started is still making the phrases that it will have ready.
        called.call_by(&called.offhook.uri(), Vec::new(), usize::MAX);
        called.offhook.wait_for_log("Answers rehearsed", REHEARSED_WITHIN);
        called
    }

    pub(crate) fn offhook(&self) -> &Offhook {
        &self.offhook
    }

    /// Places these calls, so many at once; they come back in order.
    pub(crate) fn calls(&self, calls: Vec<Vec<Line>>, at_once: usize) -> Vec<Call> {
        let waiting: Mutex<VecDeque<_>> = Mutex::new(calls.into_iter().enumerate().collect());
        let done = Mutex::new(Vec::new());
        let (runtime, folder, target) = (&self.runtime, self.folder.path(), self.offhook.uri());
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().unwrap().pop_front();
                        let Some((number, lines)) = next else { return };
                        let call = call(runtime, folder, &target, lines, number);
                        done.lock().unwrap().push((number, call));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap();
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, call)| call).collect()
    }

    /// Places call `number` to `target`, where this box is reached otherwise.
    pub(crate) fn call_by(&self, target: &str, lines: Vec<Line>, number: usize) -> Call {
        call(&self.runtime, self.folder.path(), target, lines, number)
    }
}

/// One call of a box whose state is in `folder`; calls of the same time have different numbers.
fn call(runtime: &Runtime, folder: &Path, target: &str, lines: Vec<Line>, number: usize) -> Call {
    let recording = folder.join(format!("call-{number}.wav"));
    let patience = Patience {
        turn_end: Duration::from_millis(1_000),
        no_answer: Duration::from_secs(6),
        farewell: Duration::from_secs(5),
    };
    let (protection, record) = (Protection::default(), Some(recording.clone()));
    let report = runtime
        .block_on(place(CallPlan { target: target.to_owned(), protection, lines, record, patience, from: None }))
        .unwrap();
    let sip_call_id = report.sip_call_id.clone().unwrap();
    let reader = Reader::open(folder, 1).unwrap();
    let ended = || {
        let sip_call_id = sip_call_id.clone();
        let detail = reader.read_blocking(move |db| {
            let call_id = find_by_sip_call_id(db, &sip_call_id)?;
            call_id.map(|call_id| session_detail(db, &call_id.to_string())).transpose()
        });
        detail.unwrap().filter(|detail| detail.session.ended_at.is_some())
    };
    let detail = tests::poll(ROWS_WITHIN, ended).expect("the rows of the call");
    Call { report, detail, recording }
}
