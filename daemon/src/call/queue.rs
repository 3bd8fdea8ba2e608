//! Waiting in line for whoever of a queue is free: music, the place in the line now and then, and a way out by any key.
//!
//! Only the first in the line makes phones ring, and only phones of members who are free.

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio::time::Instant;
use tracing::info;

use super::bridge::Party;
use super::incoming::CallerKind;
use super::lines::Ticket;
use super::onward::{Onward, Step};
use super::reach::course_to;
use super::ring::{Rung, ring};
use super::services::Services;
use super::waiting::{Interrupted, Waiting};
use crate::config::Queue;
use crate::dial_plan::{RingPlan, in_steps};

/// How soon is looked again whether a member is free, and how long members have peace after nobody took the call.
const RETRY_INTERVAL: Duration = Duration::from_secs(4);

/// Waits until a member takes the call, or until it has to go on elsewhere.
pub(super) async fn wait_in_line(waiting: &mut Waiting, name: &str) -> Result<Step, Interrupted> {
    let services = Arc::clone(&waiting.services);
    let Some(queue) = services.config.queues.iter().find(|queue| queue.name == name) else { return Ok(Step::Attend) };
    let elsewhere = || Ok(Step::Next(Onward::Course(course_to(&services, &queue.unanswered))));
    let limit = usize::try_from(queue.length_limit).unwrap_or(usize::MAX);
    let Some(ticket) = services.lines.enter(name, limit) else {
        info!(queue = name, limit, "Queue is full");
        return elsewhere();
    };
    info!(queue = name, before = ticket.before(), "In a queue");
    let mut line = Line { queue, ticket, announced: None };
    let deadline = Instant::now() + Duration::from_secs(queue.wait_limit_seconds.into());
    while Instant::now() < deadline {
        let turn = async {
            line.announce(waiting).await?;
            line.next(&services, waiting).await
        };
        let wait = tokio::time::timeout_at(deadline, turn).await;
        match wait {
            Ok(Ok(Some(party))) => return Ok(Step::Connected { party: Box::new(party), places: Vec::new() }),
            Ok(Ok(None)) => {}
            Ok(Err(Interrupted::Pressed(_))) => {
                info!(queue = name, "Left a queue by a key");
                return elsewhere();
            }
            Ok(Err(interrupted)) => return Err(interrupted),
            Err(_) => break,
        }
    }
    info!(queue = name, "Waited too long in a queue");
    elsewhere()
}

struct Line<'a> {
    queue: &'a Queue,
    ticket: Ticket,
    /// The place that was told, and when.
    announced: Option<(usize, Instant)>,
}

impl Line<'_> {
    fn announce_interval(&self) -> Duration {
        Duration::from_secs(self.queue.announce_seconds.into())
    }

    async fn announce(&mut self, waiting: &mut Waiting) -> Result<(), Interrupted> {
        let before = self.ticket.before();
        let is_told = |(place, at): (usize, Instant)| place == before && at.elapsed() < self.announce_interval();
        if !self.announced.is_some_and(is_told) {
            self.announced = Some((before, Instant::now()));
            waiting.announce(&place_in_line(before)).await?;
        }
        Ok(())
    }

    /// The next thing that happens: a member takes the call, or something has to be looked at again.
    async fn next(&mut self, services: &Arc<Services>, waiting: &mut Waiting) -> Result<Option<Party>, Interrupted> {
        if self.ticket.before() > 0 {
            let interval = self.announce_interval();
            let changed = tokio::time::timeout(interval, self.ticket.changed());
            return waiting.until(changed).await.map(|_| None);
        }
        let free: Vec<String> = self.queue.members.iter().filter(|member| is_free(services, member)).cloned().collect();
        if !free.is_empty() {
            let plan = RingPlan {
                steps: in_steps(free, self.queue.strategy, |members| members.shuffle(&mut rand::rng())),
                step_seconds: self.queue.ring_timeout_seconds.0,
                unanswered: self.queue.unanswered.clone(),
            };
            let from = waiting.from.clone();
            if let Rung::Answered { leg, extension } = waiting.until(ring(services, &plan, &from)).await? {
                return Ok(Some(Party::new(services, *leg, CallerKind::Extension(extension))));
            }
        }
        waiting.until(tokio::time::sleep(RETRY_INTERVAL)).await.map(|()| None)
    }
}

/// Has a phone, wants calls and has none.
fn is_free(services: &Services, extension: &str) -> bool {
    services.diversions.takes_part(extension)
        && !services.lamps.is_in_call(extension)
        && !services.phones.bindings(extension, std::time::Instant::now()).is_empty()
}

fn place_in_line(before: usize) -> String {
    match before {
        0 => crate::conversation::phrases::NEXT_IN_LINE.to_owned(),
        1 => "There is one caller before you.".to_owned(),
        _ => format!("There are {before} callers before you."),
    }
}
