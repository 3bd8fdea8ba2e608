//! A caller whom the attendant gives to somebody: phones of the office ring first, then the mobile through the trunk.
//!
//! Left out on purpose: who that is ([`Office::route`](crate::office::Office::route)).

use tracing::{info, warn};

use super::onward::{Step, follow};
use super::reach::{Course, Outside, course_to};
use super::services::Services;
use super::waiting::{Interrupted, Waiting};
use crate::dial_plan::{Decision, from_phone};
use crate::office::Route;

/// Rings whoever is at the end of the route; [`Step::Attend`] if nobody took the call.
pub(super) async fn hand_over(waiting: &mut Waiting, route: &Route) -> Result<Step, Interrupted> {
    let mobile = route.mobile.as_ref().and_then(|number| outside(&waiting.services, number.reveal()));
    if let Some(target) = &route.reach {
        let course = course_to(&waiting.services, target);
        let step = follow(waiting, course).await?;
        match step {
            Step::Attend | Step::TakeMessage | Step::Next(_) if mobile.is_some() => {}
            Step::Attend | Step::TakeMessage | Step::Next(_) | Step::Connected { .. } | Step::SentOn => return Ok(step),
        }
    }
    let Some(mobile) = mobile else { return Ok(Step::Attend) };
    info!("A mobile rings");
    follow(waiting, Course::Outside(mobile)).await
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
