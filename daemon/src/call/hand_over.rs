//! A caller whom the attendant gives to somebody: phones of the office ring first, then the mobile through the trunk. Whoever
//! answers decides ([`super::consult`]); whatever they decide, the caller is never left alone with it.
//!
//! ```text
//!  office phones ─► mobile ─► answered ─► 1: connected      2: a message      3: a promise, told with its reference
//!       └── busy, refused, no answer, no key ──► told so, and a message is offered
//! ```
//! Left out on purpose: who that is ([`Office::route`](crate::office::Office::route)), and why (`conversation::escalation`).

use std::sync::Arc;

use jiff::Zoned;
use tracing::{info, warn};

use super::bridge::Party;
use super::consult::{Verdict, announce, consult, prepare, take_leave};
use super::onward::{Step, follow};
use super::reach::{Course, Outside, course_to};
use super::services::Services;
use super::waiting::{Interrupted, Patience, Waiting};
use crate::conversation::machine::{Opening, Unreached};
use crate::conversation::phrases;
use crate::dial_plan::{Decision, from_phone};
use crate::follow_ups::{self, due, promise_with_jobs};
use crate::office::Route;
use crate::redact::Redacted;
use crate::storage::{
    EscalationId, EscalationOutcome, FollowUp, FollowUpChannel, FollowUpId, FollowUpState, UnixMs, VoicemailId,
    reference_of, set_escalation_outcome,
};

/// Whom the caller is given to, and what is known by then.
pub(super) struct HandOver {
    /// Who is rung.
    pub(super) route: Route,
    /// The row of the decision.
    pub(super) escalation: Option<EscalationId>,
    /// One sentence about the caller.
    pub(super) summary: String,
    /// As they said.
    pub(super) name: Option<String>,
    /// Where they call from, if that can be called.
    pub(super) number: Option<String>,
    /// They did not ask for it: they are told that they are connected.
    pub(super) is_sudden: bool,
    /// Who wants them already: nobody is rung then.
    pub(super) phone: Option<Box<Party>>,
}

/// What one way to somebody came to.
enum Tried {
    /// The caller goes on with this, for the row.
    Over(Step, EscalationOutcome),
    /// Another way may lead to them.
    Not(NotTaken),
}

/// Why a way did not lead to them; what says more comes later in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NotTaken {
    /// Nobody answered.
    Unreached(Unreached),
    /// A mailbox, perhaps.
    NoKey,
}

fn outcome_of(why: Unreached) -> EscalationOutcome {
    match why {
        Unreached::Failed => EscalationOutcome::Failed,
        Unreached::NoAnswer => EscalationOutcome::NoAnswer,
        Unreached::Busy => EscalationOutcome::Busy,
        Unreached::Declined => EscalationOutcome::Declined,
    }
}

/// Rings whoever is at the end of the route, and follows what they decide.
pub(super) async fn hand_over(waiting: &mut Waiting, mut wanted: HandOver) -> Result<Step, Interrupted> {
    let services = Arc::clone(&waiting.services);
    // Whatever comes of it: a message is for whom they wanted.
    waiting.mailbox = services.config.mailbox_at(&wanted.route).map(|mailbox| mailbox.name.clone());
    if is_asked(&services) {
        prepare(&services, &wanted.summary);
    }
    if wanted.is_sudden {
        waiting.say(phrases::CONNECTING).await;
    }
    let tried = match wanted.phone.take() {
        Some(phone) => taken_over(waiting, *phone, &wanted.summary).await,
        None => ways(waiting, &wanted).await,
    };
    let outcome = match &tried {
        Ok((_, outcome)) => *outcome,
        Err(_) => EscalationOutcome::CallerGone,
    };
    info!(outcome = outcome.as_str(), "Given to a person");
    if let Some(id) = wanted.escalation {
        services.storage.try_post("outcome of an escalation", move |sql_tx| {
            set_escalation_outcome(sql_tx, id, outcome, UnixMs::now())
        });
    }
    tried.map(|(step, _)| step)
}

/// Whoever wants the caller hears who that is, and has them.
async fn taken_over(
    waiting: &mut Waiting,
    mut phone: Party,
    summary: &str,
) -> Result<(Step, EscalationOutcome), Interrupted> {
    let services = Arc::clone(&waiting.services);
    waiting.wait_with(Patience::Music);
    let is_there = waiting.until_whatever_is_pressed(announce(&services, &mut phone.leg, summary)).await?;
    Ok(match is_there {
        true => (Step::Connected { party: Box::new(phone), places: Vec::new() }, EscalationOutcome::Taken),
        false => (Step::AttendWith(Opening::NobodyAnswered), EscalationOutcome::HungUp),
    })
}

/// Whether whoever is rung is asked.
fn is_asked(services: &Services) -> bool {
    services.config.escalation.callee_decides_enabled && services.abilities.text_to_speech
}

async fn ways(waiting: &mut Waiting, wanted: &HandOver) -> Result<(Step, EscalationOutcome), Interrupted> {
    let services = Arc::clone(&waiting.services);
    let route = &wanted.route;
    let mobile = route.mobile.as_ref().and_then(|number| outside(&services, number.reveal()));
    let inside = route.reach.as_ref().map(|target| course_to(&services, target));
    let mut outcome = None;
    let count = usize::from(inside.is_some()) + usize::from(mobile.is_some());
    for (index, course) in inside.into_iter().chain(mobile.map(Course::Outside)).enumerate() {
        let is_last = index + 1 == count;
        match one_way(waiting, wanted, course, is_last).await? {
            Tried::Over(step, outcome) => return Ok((step, outcome)),
            Tried::Not(why) => outcome = outcome.max(Some(why)),
        }
    }
    Ok(match outcome {
        Some(NotTaken::NoKey) => (Step::AttendWith(Opening::NobodyAnswered), EscalationOutcome::NoKey),
        Some(NotTaken::Unreached(why)) => {
            (Step::AttendWith(Opening::NotReached { who: route.person.clone(), why }), outcome_of(why))
        }
        None => (Step::AttendWith(Opening::NobodyAnswered), EscalationOutcome::Failed),
    })
}

async fn one_way(
    waiting: &mut Waiting,
    wanted: &HandOver,
    course: Course,
    is_last: bool,
) -> Result<Tried, Interrupted> {
    waiting.unreached = None;
    let step = follow(waiting, course).await?;
    let why = waiting.unreached.unwrap_or(Unreached::NoAnswer);
    let (party, places) = match step {
        Step::Connected { party, places } => (party, places),
        Step::SentOn => return Ok(Tried::Over(Step::SentOn, EscalationOutcome::Taken)),
        // As the extension wants it of calls that nobody takes.
        step @ (Step::Next(_) | Step::TakeMessage) if is_last => {
            return Ok(Tried::Over(step, outcome_of(why)));
        }
        Step::Next(_) | Step::TakeMessage | Step::Attend | Step::AttendWith(_) => {
            return Ok(Tried::Not(NotTaken::Unreached(why)));
        }
    };
    let services = Arc::clone(&waiting.services);
    if !is_asked(&services) {
        return Ok(Tried::Over(Step::Connected { party, places }, EscalationOutcome::Taken));
    }
    waiting.wait_with(Patience::Music);
    let mut party = party;
    let verdict = waiting
        .until_whatever_is_pressed(consult(&services, &mut party.leg, &wanted.summary, phrases::CALLEE_MENU))
        .await?;
    if waiting.mailbox.is_none()
        && let Some(mailbox) = party.extension().and_then(|extension| services.config.mailbox_of(extension))
    {
        // One of several phones: whoever decides at it has the message.
        waiting.mailbox = Some(mailbox.name.clone());
    }
    Ok(match verdict {
        Verdict::Take => Tried::Over(Step::Connected { party, places }, EscalationOutcome::Taken),
        Verdict::Voicemail => {
            leave(&services, *party, phrases::CALLEE_VOICEMAIL);
            Tried::Over(Step::AttendWith(Opening::MessageForCallee), EscalationOutcome::Voicemail)
        }
        Verdict::CallBack => match promise(waiting, wanted, &party).await {
            Some(opening) => {
                leave(&services, *party, phrases::CALLEE_CALLS_BACK);
                Tried::Over(Step::AttendWith(opening), EscalationOutcome::CallBack)
            }
            // What cannot be promised is not: they leave a message, and their number in it.
            None => {
                leave(&services, *party, phrases::CALLEE_VOICEMAIL);
                Tried::Over(Step::AttendWith(Opening::MessageForCallee), EscalationOutcome::Voicemail)
            }
        },
        Verdict::NoKey => Tried::Not(NotTaken::NoKey),
        Verdict::WrongKey => {
            let step = Step::AttendWith(Opening::NobodyAnswered);
            Tried::Over(step, EscalationOutcome::WrongKey)
        }
        Verdict::HungUp => {
            let step = Step::AttendWith(Opening::NobodyAnswered);
            Tried::Over(step, EscalationOutcome::HungUp)
        }
    })
}

/// Tells the callee so in the background: the caller need not wait for it.
fn leave(services: &Arc<Services>, party: Party, text: &'static str) {
    let services = Arc::clone(services);
    tokio::spawn(async move { take_leave(services, party.leg, text).await });
}

/// Keeps that the callee will call back; `None` without a number, or if that could not be kept.
async fn promise(waiting: &Waiting, wanted: &HandOver, party: &Party) -> Option<Opening> {
    let services = &waiting.services;
    let number = wanted.number.clone()?;
    let office = services.staff.office();
    let at_phone = || Some(office.person_at(party.extension()?)?.name.clone());
    let owner = wanted.route.person.clone().or_else(at_phone);
    let (at, now) = (UnixMs::now(), Zoned::now());
    let follow_up_id = FollowUpId::new(at);
    let reference = reference_of(VoicemailId::from(*follow_up_id.as_uuid()));
    let promise = FollowUp {
        follow_up_id,
        reference: reference.clone(),
        call_id: Some(waiting.call_id),
        turn_id: None,
        voicemail_id: None,
        owner: owner.clone(),
        channel: FollowUpChannel::Phone,
        contact: Some(Redacted::new(number)),
        contact_name: wanted.name.clone().map(Redacted::new),
        task: Redacted::new("call back".to_owned()),
        due_at: UnixMs(due(None, None, &office.calendar, &now).timestamp().as_millisecond()),
        due_text: None,
        state: FollowUpState::Open,
        reminded_at: None,
        escalated_at: None,
        acknowledged_by: None,
        closed_reason: None,
        created_at: at,
    };
    let rules = follow_ups::Rules::from(&services.config.notices);
    let kept = services.storage.write(move |sql_tx| promise_with_jobs(sql_tx, &promise, &rules)).await;
    if let Err(error) = kept {
        warn!(%error, "A promise could not be kept, so it is not made");
        return None;
    }
    services.bell.ring();
    Some(Opening::CallBack { who: owner, reference })
}

/// A number that phones of the office might call as well.
fn outside(services: &Services, number: &str) -> Option<Outside> {
    // Whoever is on call is so at night, and is not locked out.
    match from_phone(&services.config, number, true) {
        Decision::Outside { number } => Some(Outside { number, ..Outside::default() }),
        Decision::Inside(_) | Decision::Emergency { .. } | Decision::Feature(_) | Decision::Denied(_) => {
            warn!("A mobile is not rung: [outbound] does not allow its number");
            None
        }
    }
}
