//! `GET /v1/calls/{id}/listen?side=caller|ours|both`: the sound of a call, live, as a WebSocket (RFC 6455).
//!
//! First comes a text frame with the format, then a binary frame for each 20 ms, and in a talk with the box text frames with
//! the words (`who`: caller or attendant, `text`, `final`): of a caller also while they still speak. A listener that is too slow loses the
//! oldest frames, and gets a text frame with how many; the call never waits for it. Nothing is asked of the listener but
//! to answer pings. When the call is over the WebSocket is closed, with why.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{Instrument as _, info, info_span};

use super::problem::Problem;
use crate::call::{Heard, ListenError, Listening, Moment, Words};
use crate::storage::RECORDING_SAMPLE_RATE;

/// How often a listener is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// One that has not answered for so long is not.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// How long a listener has to take the last frame and to close its side.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// The longest that a listener may say.
const MESSAGE_BYTES: usize = 4 << 10;

/// Whose sound is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// Of the one who called.
    Caller,
    /// Of whoever talks with them.
    Ours,
    /// Both, as two channels: the caller is the first.
    #[default]
    Both,
}

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    side: Side,
}

/// Why a WebSocket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    CallOver,
    /// The listener has gone.
    Left,
    /// It does not answer any more.
    Silent,
    /// The box stops.
    Stopped,
}

pub(super) async fn listen(
    State(state): State<super::State>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Query(Wanted { side }) = wanted
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "side is caller, ours or both; nothing else is known"))?;
    let upgrade = upgrade
        .map_err(|_| Problem::new(StatusCode::UPGRADE_REQUIRED, "the sound of a call comes by WebSocket only"))?;
    let listening = state.calls.listen(&id).map_err(|error| {
        let status = match error {
            ListenError::NoSuchCall => StatusCode::NOT_FOUND,
            ListenError::Ambiguous | ListenError::TooMany => StatusCode::CONFLICT,
        };
        Problem::new(status, error.to_string())
    })?;
    let span = info_span!("call", call_id = %listening.call_id);
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| serve(socket, listening, side, peer, state.stop).instrument(span)))
}

async fn serve(
    mut socket: WebSocket,
    mut listening: Listening,
    side: Side,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    // Who it is will be known once there are logins.
    info!(%peer, ?side, "Live listening");
    let (began, mut dropped) = (Instant::now(), 0);
    let told = tell(&mut socket, &mut listening, side, &mut dropped);
    // The calls of a box that stops are over: whoever takes what is left of them in time is told so.
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
        sleep(CLOSE_LIMIT).await;
    };
    let ended = tokio::select! {
        ended = told => ended,
        () = stopped => Ended::Stopped,
    };
    info!(%peer, ?ended, seconds = began.elapsed().as_secs(), dropped, "Live listening ended");
    drop(listening);
    // Whoever does not take it is cut off.
    let _ = timeout(CLOSE_LIMIT, close(socket, ended)).await;
}

/// Tells what is heard until there is no more, or nobody to tell it; adds up what was lost.
async fn tell(socket: &mut WebSocket, listening: &mut Listening, side: Side, dropped: &mut u64) -> Ended {
    let mut message = text(&side.format(listening));
    let mut ping = interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_sign = Instant::now();
    loop {
        match timeout(SILENCE_LIMIT, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ended::Left,
            Err(_) => return Ended::Silent,
        }
        message = loop {
            tokio::select! {
                heard = listening.next() => match heard {
                    Heard::Moment(moment) => break Message::Binary(side.samples(&moment)),
                    Heard::Words(words) => break text(&said(&words)),
                    Heard::Dropped(frames) => {
                        *dropped += frames;
                        break text(&json!({ "dropped": frames }));
                    }
                    Heard::Over => return Ended::CallOver,
                },
                sign = socket.recv() => match sign {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ended::Left,
                    Some(Ok(_)) => last_sign = Instant::now(),
                },
                _ = ping.tick() => {
                    if last_sign.elapsed() > SILENCE_LIMIT {
                        return Ended::Silent;
                    }
                    break Message::Ping(Bytes::new());
                }
            }
        };
    }
}

/// What was said, for whoever reads along.
fn said(Words { by_caller, text, is_final }: &Words) -> Value {
    json!({ "who": if *by_caller { "caller" } else { "attendant" }, "text": text.reveal(), "final": is_final })
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

/// Says why, and waits until the other side has closed too, so that what it was sent last is not lost.
async fn close(mut socket: WebSocket, ended: Ended) {
    let (code, reason) = match ended {
        Ended::Left => return,
        Ended::CallOver => (close_code::NORMAL, "call_ended"),
        Ended::Silent => (close_code::POLICY, "no_pong"),
        Ended::Stopped => (close_code::AWAY, "box_stops"),
    };
    if socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

impl Side {
    /// The first frame.
    fn format(self, listening: &Listening) -> Value {
        json!({
            "call_id": listening.call_id.to_string(),
            "sample_rate": RECORDING_SAMPLE_RATE,
            "encoding": "s16le",
            "channels": match self { Side::Caller | Side::Ours => 1, Side::Both => 2 },
        })
    }

    fn samples(self, [caller, ours]: &Moment) -> Bytes {
        match self {
            Side::Caller => caller.iter().copied().flat_map(i16::to_le_bytes).collect(),
            Side::Ours => ours.iter().copied().flat_map(i16::to_le_bytes).collect(),
            Side::Both => {
                caller.iter().zip(ours).flat_map(|(one, other)| [*one, *other]).flat_map(i16::to_le_bytes).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_channels_and_samples_little_endian() {
        let moment: Moment = [[0x0102; 160], [-2; 160]];
        assert_eq!(Side::Caller.samples(&moment)[..4], [2, 1, 2, 1]);
        assert_eq!(Side::Ours.samples(&moment)[..4], [0xFE, 0xFF, 0xFE, 0xFF]);
        assert_eq!(Side::Both.samples(&moment)[..4], [2, 1, 0xFE, 0xFF]);
        assert_eq!([Side::Caller, Side::Both].map(|side| side.samples(&moment).len()), [320, 640]);
    }
}
