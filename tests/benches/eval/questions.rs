//! What callers say, answered: how long they wait, what is understood, what they are told.

use std::collections::VecDeque;

use daemon::caller::Line;
use daemon::caller::turn_taker::Cue;
use daemon::storage::ConversationTurn;
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use tests::eval::{
    Answered, Figure, Goal, QUESTIONS, Row, Spread, align, judge_answer, judge_understanding, parse, shared_rows,
};
use tests::noise::{amplitude, at_level, pink, rms, white};
use tests::recordings::flac;

use super::Run;
use super::calls::{Call, Called, Voice, line, text};

/// Rows of one call: so few that a misunderstanding costs only these.
const ROWS_A_CALL: usize = 6;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Clean,
    /// At −40 dBov.
    Quiet,
    /// White noise at 15 dB below the words.
    White,
    /// Pink noise at 10 dB below them.
    Pink,
}

/// Figures and the cases that went wrong.
pub(crate) type Judged = (Vec<Figure>, Vec<String>);

/// Every question once, one call after the other, on a good line.
pub(crate) fn clean(run: &Run) -> Result<Judged, String> {
    let plans = plans(every(run.stride(5), parse(QUESTIONS)), &run.voice, |_| Condition::Clean);
    let (mut tally, mut figures) = (Tally::default(), Vec::new());
    tally.add_all(&Called::start(&[]), plans, 1);
    figures.extend(tally.gaps());
    figures.extend(tally.stages());
    figures.extend(tally.understanding(None));
    figures.extend(tally.answers());
    Ok((figures, tally.cases))
}

/// Questions on bad lines, and the shared utterances: what is understood.
pub(crate) fn variants(run: &Run) -> Result<Judged, String> {
    let mut rows = every(run.stride(12), parse(QUESTIONS));
    match tests::shared::shared_data("utterances") {
        Some(folder) => rows.extend(every(run.stride(3), shared_rows(&folder))),
        None => println!("SKIPPED: the shared utterances are not here; only our own sentences"),
    }
    let conditions = [Condition::White, Condition::Quiet, Condition::Pink];
    let plans = plans(rows, &run.voice, |number| conditions[number % conditions.len()]);
    let mut tally = Tally::default();
    tally.add_all(&Called::start(&[]), plans, 2);
    let mut figures = tally.understanding(None);
    figures.extend(tally.answers());
    Ok((figures, tally.cases))
}

/// Four callers at once.
pub(crate) fn four(run: &Run) -> Result<Judged, String> {
    let plans = plans(every(run.stride(3), parse(QUESTIONS)), &run.voice, |_| Condition::Clean);
    let mut tally = Tally::default();
    tally.add_all(&Called::start(&[]), plans, 4);
    let mut figures: Vec<Figure> = Vec::new();
    figures.extend(tally.all().figures("heard gap, four callers", None, Some(Goal::AtMost(1_500.0))));
    figures.extend(tally.understanding(None));
    Ok((figures, tally.cases))
}

fn every<T>(stride: usize, rows: Vec<T>) -> Vec<T> {
    rows.into_iter().step_by(stride).collect()
}

type Plan = Vec<(Row, Line)>;

fn plans(rows: Vec<Row>, voice: &Voice, condition: impl Fn(usize) -> Condition) -> Vec<Plan> {
    let said = |(number, row): (usize, Row)| {
        let line = spoken(&row, voice, condition(number), number as u64);
        (row, line)
    };
    let said: Vec<(Row, Line)> = rows.into_iter().enumerate().map(said).collect();
    let (last, mut open): (Vec<_>, Vec<_>) = said.into_iter().partition(|(row, _)| row.ends_talk());
    let mut last = VecDeque::from(last);
    let mut plans = Vec::new();
    while !open.is_empty() || !last.is_empty() {
        let mut plan: Plan = open.drain(..open.len().min(ROWS_A_CALL)).collect();
        plan.extend(last.pop_front());
        plans.push(plan);
    }
    plans
}

fn spoken(row: &Row, voice: &Voice, condition: Condition, seed: u64) -> Line {
    let words = match &row.recording {
        Some(file) => at_level(flac(file), -23.0),
        None => voice.sound(&row.text),
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // The line is noisy before and after the words, too.
    let (before, after) = (4_000, 6_400);
    let noise = |snr_db: f32, noise: Vec<f32>| {
        let gain = rms(&words) * amplitude(-snr_db) / rms(&noise);
        let word = |at: usize| at.checked_sub(before).and_then(|at| words.get(at)).copied().unwrap_or(0.0);
        noise.into_iter().enumerate().map(|(at, sample)| sample * gain + word(at)).collect()
    };
    let count = before + words.len() + after;
    let sound: Vec<f32> = match condition {
        Condition::Clean => words.clone(),
        Condition::Quiet => at_level(words, -40.0),
        Condition::White => noise(15.0, white(count, &mut random)),
        Condition::Pink => noise(10.0, pink(&white(count, &mut random))),
    };
    line(&row.text, &sound, Cue::AfterAnswer)
}

/// What came of many lines.
#[derive(Default)]
struct Tally {
    /// The caller's own measure, and the row it belongs to.
    waits: Vec<(f64, ConversationTurn)>,
    lines: usize,
    unanswered: usize,
    intents: usize,
    named: usize,
    found: usize,
    invented: usize,
    answers: [usize; 4],
    /// Rows of nobody's line.
    extra: usize,
    cases: Vec<String>,
}

impl Tally {
    fn add_all(&mut self, called: &Called, plans: Vec<Plan>, at_once: usize) {
        let lines = plans.iter().map(|plan| plan.iter().map(|(_, line)| line.clone()).collect()).collect();
        for (plan, call) in plans.iter().zip(called.calls(lines, at_once)) {
            self.add(plan, &call);
        }
        if std::env::var_os("OFFHOOK_EVAL_LOG").is_some() {
            println!("{}", called.offhook().log());
        }
    }

    fn add(&mut self, plan: &Plan, call: &Call) {
        let said: Vec<&str> = plan.iter().map(|(row, _)| row.text.as_str()).collect();
        let heard = call.heard();
        let pairs = align(&said, &heard);
        if heard.is_empty() && !plan.is_empty() {
            let session = &call.detail.session;
            self.cases.push(format!("a call without a turn: {:?}, {:?}", session.hangup_cause, call.report.turns));
        }
        let is_paired = |index: &usize| pairs.contains(&Some(*index));
        for index in (0..heard.len()).filter(|index| !is_paired(index)) {
            self.extra += 1;
            self.cases.push(format!("nobody's line: {:?}", heard[index]));
        }
        for (number, ((row, _), pair)) in plan.iter().zip(&pairs).enumerate() {
            self.lines += 1;
            let turn = pair.map(|index| &call.detail.turns[index]);
            let gap = call.report.turns.get(number + 1).and_then(|turn| turn.gap);
            match (gap, turn) {
                (Some(gap), Some(turn)) => self.waits.push((gap.as_secs_f64() * 1e3, turn.clone())),
                (Some(_), None) => {}
                (None, _) => {
                    self.unanswered += 1;
                    self.cases.push(format!("no answer heard to: {}", row.text));
                }
            }
            self.judge(row, turn);
        }
    }

    fn judge(&mut self, row: &Row, turn: Option<&ConversationTurn>) {
        let Some(turn) = turn else {
            self.named += row.slots.len();
            return self.cases.push(format!("no turn for: {}", row.text));
        };
        let slots: Vec<(&str, &str)> =
            turn.slots.reveal().iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
        let intent = turn.intent.as_deref().unwrap_or_default();
        let judged = judge_understanding(row, intent, slots.iter().copied());
        self.intents += usize::from(judged.intent);
        self.named += judged.named;
        self.found += judged.found;
        self.invented += judged.invented;
        if !judged.intent || judged.found < judged.named || judged.invented > 0 {
            let wanted = (&row.intents, &row.slots);
            self.cases.push(format!("{:?} heard as {:?}: {intent} {slots:?}, wanted {wanted:?}", row.text, text(turn)));
        }
        let answer = turn.answer.as_ref().map_or("", |answer| answer.reveal().as_str());
        if let Some(answered) = judge_answer(row, answer) {
            self.answers[answered as usize] += 1;
            if matches!(answered, Answered::Refused | Answered::Wrong) {
                self.cases.push(format!("{answered:?}: {:?} answered with {answer:?}", row.text));
            }
        }
    }

    fn all(&self) -> Spread {
        self.waits.iter().map(|(gap, _)| *gap).collect()
    }

    fn gaps(&self) -> Vec<Figure> {
        let of = |with_sources: bool| -> Spread {
            let kind = self.waits.iter().filter(|(_, turn)| turn.sources.is_empty() != with_sources);
            kind.map(|(gap, _)| *gap).collect()
        };
        let (p50, p95) = (Some(Goal::AtMost(450.0)), Some(Goal::AtMost(900.0)));
        let mut figures = of(true).figures("heard gap, answers from the office's knowledge", p50, p95).to_vec();
        let phrases = of(false).figures("heard gap, confirmations and phrases", Some(Goal::AtMost(350.0)), None);
        figures.extend(phrases);
        figures.push(Figure::share("lines without an answer", self.unanswered, self.lines).with(Goal::AtMost(0.0)));
        figures.push(Figure::new("turns of nobody", self.extra as f64, "", self.lines).with(Goal::AtMost(0.0)));
        figures
    }

    fn stages(&self) -> Vec<Figure> {
        let stage = |of: fn(&ConversationTurn) -> Option<u32>| -> Spread {
            self.waits.iter().filter_map(|(_, turn)| of(turn)).map(f64::from).collect()
        };
        let stages = [
            ("gap as the box measures it", stage(|turn| turn.timings.heard_gap_ms)),
            ("until the endpoint was decided", stage(|turn| turn.timings.endpoint_decided_ms)),
            ("work of recognition", stage(|turn| turn.timings.stt_ms)),
            ("work of intent and answer", stage(|turn| turn.timings.understand_ms)),
            ("work of the first sentence", stage(|turn| turn.timings.first_sentence_tts_ms)),
        ];
        stages.iter().flat_map(|(name, spread)| spread.figures(&format!("  {name}"), None, None)).collect()
    }

    /// `goals`: of intents and of slots, in per cent.
    fn understanding(&self, goals: Option<(f64, f64)>) -> Vec<Figure> {
        let mut intents = Figure::share("intents right", self.intents, self.lines);
        let mut slots = Figure::share("slots right", self.found, self.named);
        intents.goal = goals.map(|(intents, _)| Goal::AtLeast(intents));
        slots.goal = goals.map(|(_, slots)| Goal::AtLeast(slots));
        vec![intents, slots, Figure::new("slots invented", self.invented as f64, "", self.lines)]
    }

    fn answers(&self) -> Vec<Figure> {
        let of = self.answers.iter().sum();
        let share = |name: &str, kind: Answered| Figure::share(name, self.answers[kind as usize], of);
        vec![
            share("answers right", Answered::Right),
            share("rightly refused", Answered::RightlyRefused),
            share("refused although known", Answered::Refused),
            share("answers wrong", Answered::Wrong),
        ]
    }
}

/// The same sentences as text, through all of understanding and answering.
pub(crate) fn as_text(_: &Run) -> Result<Judged, String> {
    use daemon::call::Tools;
    use daemon::conversation::context::Context;
    use daemon::office::sample;
    use daemon::storage::{CallId, Speaker, Storage, StorageConfig, UnixMs};

    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig::new(folder.path())).unwrap().storage;
    let embedder = Some(super::embedder()?);
    let mut mind =
        tests::mind::mind(&storage, &sample::config(), sample::KNOWLEDGE.iter().copied(), embedder, Tools::none());
    let mut rows = parse(QUESTIONS);
    rows.extend(tests::shared::shared_data("utterances").into_iter().flat_map(|folder| shared_rows(&folder)));
    let mut tally = Tally::default();
    for row in &rows {
        let reply = mind.think(&row.text, &Context::default()).map_err(|failure| failure.name().to_owned())?.reply;
        let call_id = CallId::new(UnixMs(1));
        let mut turn = ConversationTurn::new(call_id, 0, Speaker::Caller, row.text.as_str(), UnixMs(1));
        turn.intent = Some(reply.intent.name().to_owned());
        turn.answer = Some(daemon::redact::Redacted::new(reply.sentences.join(" ")));
        let slots = reply.slots.entries().into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        turn.slots = daemon::redact::Redacted::new(slots.collect());
        tally.lines += 1;
        tally.judge(row, Some(&turn));
    }
    let mut figures = tally.understanding(Some((90.0, 85.0)));
    figures.extend(tally.answers());
    Ok((figures, tally.cases))
}
