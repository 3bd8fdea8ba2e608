//! What a request of Twilio means, and what is answered: plain code over the tenant's settings and the form that came.
//!
//! | Path | Entered at Twilio as | Is told |
//! |---|---|---|
//! | `/twilio/TENANT/voice` | the trunk's Disaster Recovery URL | a call that reached no box |
//! | `/twilio/TENANT/BOX/ended`, `/recorded` | by the answer to that | its message |
//! | `/twilio/TENANT/sms` | "A message comes in" of a number | a text |
//! | `/twilio/TENANT/BOX/status` | `sms.callback_url` of the box | where a text of the box is |
//!
//! All of them are POSTs. Who signs is the account that the form names; the address that is signed is `twilio.url` and the path
//! as it came. Twilio repeats what is not answered in time (its header `I-Twilio-Idempotency-Token` says so): what things are
//! kept under comes from what they are, so that a repeated request has no effect whether or not that header is there.

use cloud_api::signature::Signer;

use super::handed::{Call, End, Handed, Message, News, State};
use super::settings::{Account, GOODBYE, GREETING, NOTHING, Settings, Words, is_number, is_sid};
use crate::names::is_name;
use crate::store::BoxName;

/// Of a text, in characters: ten parts.
const TEXT_MAX: usize = 1_600;
/// What Twilio gives as the number of a caller who withholds it: ANONYMOUS, BLOCKED, RESTRICTED, UNAVAILABLE and UNKNOWN on
/// the keys of a phone.
const WITHHELD: [&str; 5] = ["+266696687", "+2562533", "+7378742833", "+86282452253", "+8656696"];

/// Which of the addresses it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A call that reached no box.
    Voice,
    /// The message of one has ended, whatever was recorded.
    Ended(String),
    /// Its recording is to be had, or there is none.
    Recorded(String),
    /// A text that came.
    Text,
    /// Where a text of this box is.
    Status(String),
}

impl Hook {
    /// Whose it is and which, if the path is one of ours.
    pub fn of_path(path: &str) -> Option<(String, Hook)> {
        let mut parts = path.strip_prefix("/twilio/")?.split('/');
        let tenant = parts.next().filter(|tenant| is_name(tenant))?;
        let hook = match (parts.next()?, parts.next(), parts.next()) {
            ("voice", None, None) => Hook::Voice,
            ("sms", None, None) => Hook::Text,
            (box_id, Some(what), None) if is_name(box_id) => match what {
                "ended" => Hook::Ended(box_id.to_owned()),
                "recorded" => Hook::Recorded(box_id.to_owned()),
                "status" => Hook::Status(box_id.to_owned()),
                _ => return None,
            },
            (_, _, _) => return None,
        };
        Some((tenant.to_owned(), hook))
    }
}

/// The addresses of a tenant, for whoever enters them at Twilio; `base` is `twilio.url`.
pub fn address(base: &str, tenant_id: &str, what: &str) -> String {
    format!("{base}/twilio/{tenant_id}/{what}")
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is kept, and for which box. None: nothing that anybody has to know.
    pub news: Option<(BoxName, News)>,
    /// TwiML.
    pub answer: String,
    /// The box may want to answer whoever has written: its words take the place of the answer.
    pub is_text: bool,
}

/// Why a request is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It is not signed by an account of this tenant. Nobody is told more than that they may not.
    #[error("it is not signed by an account of this tenant")]
    Stranger,
    /// A form that cannot be understood, of an account that is ours.
    #[error("{0}: expected {1}")]
    Form(&'static str, &'static str),
    /// A number that is nobody's.
    #[error("no box has the number {0}: `offhook-cloud twilio number` gives it to one")]
    Number(String),
}

/// Which account has signed a request to this address.
///
/// # Errors
/// [`HookError::Stranger`].
pub fn signed_by<'a>(
    settings: &'a Settings,
    url: &str,
    signature: &str,
    form: &[(String, String)],
) -> Result<(&'a str, &'a Account), HookError> {
    let named =
        form.iter().find(|(name, _)| name == "AccountSid").and_then(|(_, sid)| settings.accounts.get_key_value(sid));
    let (sid, account) = named.ok_or(HookError::Stranger)?;
    let is_right = account.tokens.iter().any(|token| Signer::new(token.reveal()).is_right(signature, url, form));
    if is_right { Ok((sid, account)) } else { Err(HookError::Stranger) }
}

/// The values of a form.
struct Form<'a>(&'a [(String, String)]);

impl<'a> Form<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn sid(&self, name: &'static str, prefixes: &[&str]) -> Result<&'a str, HookError> {
        let sid = self.field(name).filter(|sid| is_sid(sid, prefixes));
        sid.ok_or(HookError::Form(name, "a SID, two letters and 32 hexadecimal digits"))
    }

    /// A number of theirs; None if it is withheld.
    fn caller(&self) -> Option<String> {
        let user = user_of(self.field("From")?);
        let is_shown = !WITHHELD.contains(&user) && !["anonymous", "restricted", "unknown"].contains(&user);
        is_shown.then(|| user.chars().take(64).collect())
    }

    /// A number of ours.
    fn called(&self) -> Option<&'a str> {
        Some(user_of(self.field("To").or_else(|| self.field("Called"))?))
    }
}

/// The number of a SIP address, as trunks have it, or what it is.
fn user_of(address: &str) -> &str {
    let rest = address.strip_prefix("sip:").or_else(|| address.strip_prefix("sips:")).unwrap_or(address);
    rest.split(['@', ';']).next().unwrap_or(rest)
}

/// What a request means that this account has signed. `base` is `twilio.url`; `now` is in milliseconds since 1970.
///
/// # Errors
/// [`HookError`].
pub fn answer(
    (tenant_id, settings): (&str, &Settings),
    hook: &Hook,
    (account, form): (&str, &[(String, String)]),
    base: &str,
    now: i64,
) -> Result<Outcome, HookError> {
    let form = Form(form);
    let of = |box_id: &str| BoxName { tenant_id: tenant_id.to_owned(), box_id: box_id.to_owned() };
    let by_number = || {
        let number = form.called().ok_or(HookError::Form("To", "the number that was called or written to"))?;
        settings.box_of(number).ok_or_else(|| HookError::Number(number.to_owned()))
    };
    let call = || -> Result<Call, HookError> {
        Ok(Call {
            reference: form.sid("CallSid", &["CA"])?.to_owned(),
            account: account.to_owned(),
            caller: form.caller(),
            called: form.called().filter(|number| is_number(number)).map(str::to_owned),
            started_at: now,
            ended_by: None,
            message: None,
            state: State::Talking,
        })
    };
    let told =
        |box_id: &str, news: News, answer: String| Outcome { news: Some((of(box_id), news)), answer, is_text: false };
    match hook {
        Hook::Voice => {
            let box_id = by_number()?;
            let here = |what: &str| address(base, tenant_id, &format!("{box_id}/{what}"));
            let answer = taking_a_message(&settings.words, &here("ended"), &here("recorded"));
            Ok(told(box_id, News::Called(call()?), answer))
        }
        Hook::Ended(box_id) => {
            let end = match form.field("Digits") {
                Some("hangup") => End::Hangup,
                Some("#") => End::Key,
                Some(_) | None => End::SilenceOrLength,
            };
            // Where nothing was recorded Twilio goes on in the first answer, which says so.
            Ok(told(
                box_id,
                News::Ended(call()?, end),
                response(&said(&settings.words, settings.words.goodbye(), true)),
            ))
        }
        Hook::Recorded(box_id) => {
            let news = match form.field("RecordingStatus") {
                Some("completed") | None => News::Recorded(call()?, recording(&form, now)?),
                Some("absent" | "failed") => News::NoMessage(call()?),
                Some(_) => return Ok(Outcome { news: None, answer: response(""), is_text: false }),
            };
            Ok(told(box_id, news, response("")))
        }
        Hook::Text => {
            let reference = form.sid("MessageSid", &["SM", "MM"])?.to_owned();
            let sender = form.field("From").ok_or(HookError::Form("From", "who has written"))?.to_owned();
            let body = form.field("Body").unwrap_or_default().chars().take(TEXT_MAX).collect();
            let news = News::Whole(Handed::Text { reference, sender, body });
            Ok(Outcome { is_text: true, ..told(by_number()?, news, response("")) })
        }
        Hook::Status(box_id) => {
            let reference = form.sid("MessageSid", &["SM", "MM"])?.to_owned();
            let is_word =
                |state: &&str| state.len() <= 32 && state.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
            let state = form.field("MessageStatus").filter(is_word);
            let state = state.ok_or(HookError::Form("MessageStatus", "a state such as delivered"))?.to_owned();
            let error_code = form.field("ErrorCode").and_then(|code| code.parse().ok()).unwrap_or(0);
            Ok(told(box_id, News::Whole(Handed::Progress { reference, state, error_code }), response("")))
        }
    }
}

fn recording(form: &Form<'_>, now: i64) -> Result<Message, HookError> {
    let recording = form.sid("RecordingSid", &["RE"])?.to_owned();
    let seconds = form.field("RecordingDuration").and_then(|seconds| seconds.parse::<u32>().ok()).unwrap_or(0);
    Ok(Message { recording, ended_at: now, duration_ms: seconds.saturating_mul(1_000), sound: None })
}

impl Words {
    fn goodbye(&self) -> &str {
        self.goodbye.as_deref().unwrap_or(GOODBYE)
    }
}

/// Greets, records, and has us told of it. The last words are heard only if nothing was recorded.
fn taking_a_message(words: &Words, ended: &str, recorded: &str) -> String {
    let greeting = said(words, words.greeting.as_deref().unwrap_or(GREETING), false);
    let nothing = said(words, words.nothing.as_deref().unwrap_or(NOTHING), true);
    let Words { limit_seconds, silence_seconds, .. } = words;
    let (ended, recorded) = (escaped(ended), escaped(recorded));
    response(&format!(
        "{greeting}<Record maxLength=\"{limit_seconds}\" timeout=\"{silence_seconds}\" finishOnKey=\"#\" \
         playBeep=\"true\" trim=\"do-not-trim\" action=\"{ended}\" method=\"POST\" \
         recordingStatusCallback=\"{recorded}\" recordingStatusCallbackMethod=\"POST\" \
         recordingStatusCallbackEvent=\"completed absent\"/>{nothing}"
    ))
}

/// Words to be spoken, and with `is_last` the end of the call.
fn said(words: &Words, text: &str, is_last: bool) -> String {
    let voice = words.voice.as_ref().map_or_else(String::new, |voice| format!(" voice=\"{}\"", escaped(voice)));
    let end = if is_last { "<Hangup/>" } else { "" };
    format!("<Say language=\"{}\"{voice}>{}</Say>{end}", escaped(&words.language), escaped(text))
}

/// What is said to whoever calls a number that is nobody's.
pub fn nobody_here(words: &Words) -> String {
    let is_english = words.language.starts_with("en");
    let text = "This number cannot be reached. Goodbye.";
    response(&if is_english { said(words, text, true) } else { "<Reject/>".to_owned() })
}

/// A text in answer to one that came.
pub fn answered(text: Option<&str>) -> String {
    response(&text.map_or_else(String::new, |text| format!("<Message>{}</Message>", escaped(text))))
}

fn response(verbs: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>{verbs}</Response>")
}

fn escaped(text: &str) -> String {
    // Signs that XML does not know at all are left out.
    let known = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    known.fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings::Token;
    use super::*;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    const CALL: &str = "CA0123456789abcdef0123456789abcdef";
    const TEXT: &str = "SM0123456789abcdef0123456789abcdef";
    const RECORDING: &str = "RE0123456789abcdef0123456789abcdef";
    const BASE: &str = "https://cloud.example.org";

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.set_account(ACCOUNT, Token::new("12345").unwrap(), false, None).unwrap();
        settings.set_number("+12125550142", "box-1").unwrap();
        settings
    }

    fn form(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let all = [&[("AccountSid", ACCOUNT)], fields].concat();
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn asked(path: &str, fields: &[(&str, &str)]) -> Result<Outcome, HookError> {
        let (tenant, hook) = Hook::of_path(path).unwrap();
        answer((&tenant, &settings()), &hook, (ACCOUNT, &form(fields)), BASE, 500)
    }

    fn news(outcome: &Outcome) -> (String, News) {
        let (of, news) = outcome.news.clone().unwrap();
        (of.to_string(), news)
    }

    #[test]
    fn paths_say_whose_and_which() {
        for (path, expected) in [
            ("/twilio/bakery/voice", Some(Hook::Voice)),
            ("/twilio/bakery/sms", Some(Hook::Text)),
            ("/twilio/bakery/box-1/ended", Some(Hook::Ended("box-1".into()))),
            ("/twilio/bakery/box-1/recorded", Some(Hook::Recorded("box-1".into()))),
            ("/twilio/bakery/box-1/status", Some(Hook::Status("box-1".into()))),
            ("/twilio/bakery/box-1/dance", None),
            ("/twilio/bakery/box-1/status/x", None),
            ("/twilio/Bakery/voice", None),
            ("/twilio/bakery/../x/status", None),
            ("/twilio//voice", None),
            ("/twilio/bakery", None),
            ("/", None),
        ] {
            assert_eq!(Hook::of_path(path), expected.map(|hook| ("bakery".to_owned(), hook)), "{path}");
        }
    }

    /// The token, the address and each value count; two tokens are believed while they are exchanged.
    #[test]
    fn only_an_account_of_the_tenant_is_followed() {
        let (url, mut settings) = (format!("{BASE}/twilio/bakery/sms"), settings());
        let sent = form(&[("MessageSid", TEXT), ("Body", "hello")]);
        let signature = Signer::new("12345").sign(&url, &sent);
        let is_right = |settings: &Settings, url: &str, signature: &str, form: &[(String, String)]| {
            signed_by(settings, url, signature, form).is_ok()
        };
        assert!(is_right(&settings, &url, &signature, &sent));
        assert!(is_right(&settings, "https://cloud.example.org:443/twilio/bakery/sms", &signature, &sent));
        let other = form(&[("MessageSid", TEXT), ("Body", "hullo")]);
        assert!(!is_right(&settings, &url, &signature, &other));
        assert!(!is_right(&settings, &format!("{url}?a=1"), &signature, &sent));
        assert!(!is_right(&settings, &url, "", &sent));
        assert!(!is_right(&settings, &url, &Signer::new("").sign(&url, &sent), &sent));
        assert!(!is_right(&Settings::default(), &url, &signature, &sent));
        let nobody: Vec<_> = sent[1..].to_vec();
        assert!(!is_right(&settings, &url, &Signer::new("12345").sign(&url, &nobody), &nobody));
        settings.set_account(ACCOUNT, Token::new("67890").unwrap(), true, None).unwrap();
        assert!(is_right(&settings, &url, &signature, &sent));
        settings.set_account(ACCOUNT, Token::new("67890").unwrap(), false, None).unwrap();
        assert!(!is_right(&settings, &url, &signature, &sent));
    }

    #[test]
    fn a_call_that_reaches_no_box_is_asked_for_a_message() {
        let fields = [("CallSid", CALL), ("From", "+15551234567"), ("To", "+12125550142")];
        let outcome = asked("/twilio/bakery/voice", &fields).unwrap();
        let (of, told) = news(&outcome);
        let News::Called(call) = told else { panic!("{told:?}") };
        assert_eq!((of.as_str(), call.reference.as_str(), call.started_at), ("bakery/box-1", CALL, 500));
        assert_eq!((call.caller.as_deref(), call.called.as_deref()), (Some("+15551234567"), Some("+12125550142")));
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Say language=\"en-US\">{GREETING}</Say>\
             <Record maxLength=\"180\" timeout=\"5\" finishOnKey=\"#\" playBeep=\"true\" trim=\"do-not-trim\" \
             action=\"{BASE}/twilio/bakery/box-1/ended\" method=\"POST\" \
             recordingStatusCallback=\"{BASE}/twilio/bakery/box-1/recorded\" recordingStatusCallbackMethod=\"POST\" \
             recordingStatusCallbackEvent=\"completed absent\"/>\
             <Say language=\"en-US\">{NOTHING}</Say><Hangup/></Response>"
        );
        assert_eq!(outcome.answer, expected);
        let by_sip = [("CallSid", CALL), ("From", "+266696687"), ("To", "sip:+12125550142@office.pstn.twilio.com;a=b")];
        let (_, told) = news(&asked("/twilio/bakery/voice", &by_sip).unwrap());
        let News::Called(call) = told else { panic!("{told:?}") };
        assert_eq!((call.caller, call.called.as_deref()), (None, Some("+12125550142")));
        let nobodys = [("CallSid", CALL), ("To", "+12125550199")];
        let error = asked("/twilio/bakery/voice", &nobodys).unwrap_err();
        assert!(error.to_string().contains("+12125550199") && error.to_string().contains("twilio number"), "{error}");
        assert!(matches!(asked("/twilio/bakery/voice", &[("To", "+12125550142")]), Err(HookError::Form("CallSid", _))));
    }

    #[test]
    fn the_tenants_words_are_spoken_as_they_are_whatever_signs_are_in_them() {
        let words = Words {
            language: "de-CH".to_owned(),
            voice: Some("Polly.Vicki".to_owned()),
            greeting: Some("Müller & Söhne <hier> \"grüezi\"\u{1}".to_owned()),
            goodbye: Some("Tschüss".to_owned()),
            nothing: Some("Nichts".to_owned()),
            ..Words::default()
        };
        words.check().unwrap();
        let spoken = taking_a_message(&words, "https://a.example/1?x=1&y=2", "https://a.example/2");
        let expected = "<Say language=\"de-CH\" voice=\"Polly.Vicki\">Müller &amp; Söhne &lt;hier&gt; \
            &quot;grüezi&quot;</Say>";
        assert!(spoken.contains(expected) && spoken.contains("/1?x=1&amp;y=2\""), "{spoken}");
    }

    #[test]
    fn what_becomes_of_a_message_is_told_in_parts() {
        for (digits, expected) in [(Some("#"), End::Key), (Some("hangup"), End::Hangup), (None, End::SilenceOrLength)] {
            let fields: Vec<_> =
                [("CallSid", CALL)].into_iter().chain(digits.map(|digits| ("Digits", digits))).collect();
            let outcome = asked("/twilio/bakery/box-1/ended", &fields).unwrap();
            assert!(outcome.answer.contains(GOODBYE) && outcome.answer.contains("<Hangup/>"), "{}", outcome.answer);
            let (_, told) = news(&outcome);
            assert!(matches!(told, News::Ended(_, end) if end == expected), "{told:?}");
        }
        let recorded = [
            ("CallSid", CALL),
            ("RecordingSid", RECORDING),
            ("RecordingDuration", "7"),
            ("RecordingStatus", "completed"),
        ];
        let (of, told) = news(&asked("/twilio/bakery/box-1/recorded", &recorded).unwrap());
        let News::Recorded(_, message) = told else { panic!("{told:?}") };
        assert_eq!((of.as_str(), message.recording.as_str(), message.duration_ms), ("bakery/box-1", RECORDING, 7_000));
        let absent = [("CallSid", CALL), ("RecordingSid", RECORDING), ("RecordingStatus", "absent")];
        assert!(matches!(news(&asked("/twilio/bakery/box-1/recorded", &absent).unwrap()).1, News::NoMessage(_)));
        let begun = [("CallSid", CALL), ("RecordingStatus", "in-progress")];
        assert_eq!(asked("/twilio/bakery/box-1/recorded", &begun).unwrap().news, None);
        // It would be part of an address with the account's token.
        let bad = [("CallSid", CALL), ("RecordingSid", "RE/../../Messages")];
        assert!(matches!(asked("/twilio/bakery/box-1/recorded", &bad), Err(HookError::Form("RecordingSid", _))));
    }

    #[test]
    fn texts_go_to_the_box_of_their_number_and_progress_to_the_box_that_asked() {
        let text = [("MessageSid", TEXT), ("From", "+15551234567"), ("To", "+12125550142"), ("Body", "ok 0417")];
        let outcome = asked("/twilio/bakery/sms", &text).unwrap();
        let (reference, sender) = (TEXT.to_owned(), "+15551234567".to_owned());
        let expected = News::Whole(Handed::Text { reference: reference.clone(), sender, body: "ok 0417".to_owned() });
        assert_eq!(news(&outcome), ("bakery/box-1".to_owned(), expected));
        assert!(outcome.is_text && outcome.answer.ends_with("<Response></Response>"));
        assert!(answered(Some("1 < 2")).contains("<Message>1 &lt; 2</Message>"));
        let status = [("MessageSid", TEXT), ("MessageStatus", "undelivered"), ("ErrorCode", "30005")];
        let (of, told) = news(&asked("/twilio/bakery/box-7/status", &status).unwrap());
        let progress = Handed::Progress { reference, state: "undelivered".to_owned(), error_code: 30_005 };
        assert_eq!((of.as_str(), told), ("bakery/box-7", News::Whole(progress)));
        let odd = [("MessageSid", TEXT), ("MessageStatus", "Robert'); DROP")];
        assert!(matches!(asked("/twilio/bakery/box-7/status", &odd), Err(HookError::Form("MessageStatus", _))));
    }
}
