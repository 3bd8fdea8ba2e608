//! Waiting for a tool: filler, deadline, an answer that is told or an honest apology, and the rule that nothing is changed
//! and nobody rung unless the caller has heard what will be done and has said yes.

use super::speak::{After, Kind, Line};
use super::{Command, Conversation, Failure, ToolUseId, TurnRecord};
use crate::config::ToolScope;
use crate::conversation::answer::{Action, Reply};
use crate::conversation::context::Offer;
use crate::conversation::intent::Intent;
use crate::conversation::phrases;
use crate::conversation::tools::{Pending, ToolCall};
use std::time::{Duration, Instant};

/// A tool that is being used.
#[derive(Debug)]
pub(super) struct Using {
    pub(super) id: ToolUseId,
    call: ToolCall,
    pub(super) record: Box<TurnRecord>,
    subject: Option<Intent>,
    since: Instant,
    /// When something is said next, if nothing else is.
    filler_at: Instant,
    fillers: u32,
}

impl Using {
    fn is_read(&self) -> bool {
        self.call.scope == ToolScope::Read
    }
}

impl Conversation {
    /// Whether the tool may be used right now. What only looks something up may; anything else only if this very call was
    /// read back, was heard to its end, and the caller has just said yes.
    pub(super) fn may_use(&self, pending: &Pending, reply: &Reply) -> bool {
        let heard = self.context.tool.as_ref().filter(|told| told.is_heard());
        let is_told = heard.is_some_and(|told| told.call() == pending.call());
        pending.tool.scope == ToolScope::Read || (is_told && reply.intent == Intent::Confirm)
    }

    /// Uses it and waits for [`super::Input::ToolAnswered`].
    pub(super) fn use_tool(&mut self, pending: &Pending, record: Box<TurnRecord>, now: Instant) {
        self.abandon_tool(now);
        let id = ToolUseId(self.next_tool_use);
        self.next_tool_use = self.next_tool_use.wrapping_add(1);
        let call = pending.call();
        let limit = self.settings.tool_within;
        let subject = Some(record.intent).filter(|intent| intent.is_subject());
        // A turn that has had its filler gets the next one later.
        let filler_at = if record.filler {
            now + self.settings.tool_filler_every
        } else {
            record.speech_ended_at + self.settings.tool_filler_after
        };
        self.silent_since = None;
        self.push(Command::UseTool {
            tool_use: id,
            call: Box::new(call.clone()),
            question: pending.question.clone(),
            limit,
        });
        self.using =
            Some(Using { id, call, record, subject, since: now, filler_at: filler_at.max(now + QUICK), fillers: 0 });
    }

    /// Something is answered while a tool is waited for: as it is, or only with the news that it takes a while.
    pub(super) fn while_using(&mut self, reply: Reply, now: Instant) -> Reply {
        let Some(using) = &mut self.using else { return reply };
        let stays = |sentence: &str| Reply {
            sentences: vec![sentence.to_owned()],
            action: Action::Continue,
            intent: Intent::SmallTalk,
            connect_to: None,
            escalation: None,
            tool: None,
            ..reply.clone()
        };
        let is_idle_talk = match reply.intent {
            Intent::SmallTalk | Intent::Confirm | Intent::Deny | Intent::Repeat | Intent::Details | Intent::Unknown => {
                true
            }
            Intent::OpeningHours
            | Intent::Address
            | Intent::Price
            | Intent::Appointment
            | Intent::Person
            | Intent::LeaveMessage
            | Intent::Goodbye
            | Intent::Complaint
            | Intent::Question => false,
        };
        match reply.action {
            Action::NeverMind if !using.is_read() => {
                using.filler_at = now + self.settings.tool_filler_every;
                return stays(phrases::UNDER_WAY);
            }
            Action::Continue | Action::Repeat if is_idle_talk && reply.tool.is_none() => {
                using.filler_at = now + self.settings.tool_filler_every;
                return stays(phrases::STILL_WAITING);
            }
            // What changes something is told when it is done, whatever else is asked meanwhile.
            Action::Continue if !using.is_read() => {}
            Action::Continue
            | Action::Repeat
            | Action::NeverMind
            | Action::UseTool
            | Action::HangUp
            | Action::TakeMessage
            | Action::Person
            | Action::Connect => self.abandon_tool(now),
        }
        reply
    }

    pub(super) fn tool_answered(&mut self, tool_use: ToolUseId, result: Result<Vec<String>, Failure>, now: Instant) {
        let Some(using) = self.using.take_if(|using| using.id == tool_use) else { return };
        let Using { call, mut record, subject, .. } = using;
        record.tool_answered_at = Some(now);
        let is_read = call.scope == ToolScope::Read;
        let line = match result {
            Ok(sentences) if !sentences.is_empty() => {
                self.context.misses = 0;
                record.sources.push(call.source());
                let is_offer = sentences.last().is_some_and(|last| last == phrases::ANYTHING_ELSE);
                let line = Line::fixed(sentences);
                if is_offer { line.offering(Offer::AnythingElse) } else { line }
            }
            Ok(_) => {
                record.sources.push(call.source());
                let sentence = if is_read { phrases::UNREADABLE } else { phrases::DONE };
                self.or_a_message(sentence, is_read)
            }
            Err(failure) => {
                record.failure = Some(failure.name());
                record.sources.push(format!("{} ({})", call.source(), failure.name()));
                let sentence = match (is_read, failure) {
                    (true, _) => phrases::NOT_LOOKED_UP,
                    (false, Failure::TimedOut) => phrases::NOT_SURE_DONE,
                    (false, Failure::Unavailable | Failure::Failed | Failure::Empty) => phrases::NOT_DONE,
                };
                self.or_a_message(sentence, true)
            }
        };
        let mut line = if line.after == After::Nothing { line.of(Kind::Answer).then(After::Listen) } else { line };
        line.subject = subject;
        record.answer = line.display.join(" ");
        line.record = Some(record);
        // Behind a filler that is talked over, the answer is what would be resumed.
        match &mut self.interrupted {
            Some(interrupted) if interrupted.rest.kind == Kind::Filler => {
                interrupted.rest = line;
                interrupted.heard.clear();
            }
            Some(_) | None => self.say(line, now),
        }
    }

    /// The sentence and, if it helps nobody, a message: offered, and taken the second time in a row.
    fn or_a_message(&mut self, sentence: &str, is_miss: bool) -> Line {
        let line = Line::fixed(vec![sentence.to_owned()]);
        if !is_miss {
            return line;
        }
        self.context.misses += 1;
        if self.context.misses >= 2 {
            return line.message();
        }
        let mut line = line.offering(Offer::Message).then(After::Listen);
        line.display.push(phrases::OFFER_MESSAGE.to_owned());
        line
    }

    /// Nobody waits for the tool any more; its turn is recorded as it stands.
    pub(super) fn abandon_tool(&mut self, now: Instant) {
        let Some(using) = self.using.take() else { return };
        self.push(Command::AbandonTool { tool_use: using.id });
        let mut record = using.record;
        record.tool_answered_at = Some(now);
        record.sources.push(format!("{} (abandoned)", using.call.source()));
        self.log_turn(record, String::new(), true, now);
    }

    pub(super) fn tool_timer(&self) -> Option<Instant> {
        // The shell's own deadline comes first; this one is for a shell that has lost it.
        self.using.as_ref().map(|using| using.since + self.settings.tool_within + TOOL_GRACE)
    }

    pub(super) fn tool_filler_timer(&self) -> Option<Instant> {
        let thinking = self.turn.as_ref().is_some_and(|turn| turn.ended.is_some());
        let idle = self.saying.is_none() && self.queue.is_empty() && !thinking && !self.endpointer.is_open();
        self.using.as_ref().filter(|_| idle).map(|using| using.filler_at)
    }

    pub(super) fn tool_overdue(&mut self, now: Instant) {
        if let Some(tool_use) = self.using.as_ref().map(|using| using.id) {
            self.push(Command::AbandonTool { tool_use });
            self.tool_answered(tool_use, Err(Failure::TimedOut), now);
        }
    }

    pub(super) fn fill_for_tool(&mut self, now: Instant) {
        let Some(using) = &mut self.using else { return };
        let sentence = match (using.fillers, using.is_read()) {
            (0, true) => phrases::LOOKING_UP,
            (0, false) => phrases::DOING_IT,
            (_, _) => phrases::STILL_WAITING,
        };
        using.fillers += 1;
        using.filler_at = now + self.settings.tool_filler_every;
        using.record.filler = true;
        self.say(Line::fixed(vec![sentence.to_owned()]).of(Kind::Filler), now);
    }
}

/// A tool that has answered by then needs no filler, however late the turn is already.
const QUICK: Duration = Duration::from_millis(100);
/// What the shell may take beyond the deadline.
const TOOL_GRACE: Duration = Duration::from_millis(250);
