//! Settings files for desk phones, so that nobody has to type a server and a password into a telephone.
//!
//! Pure: an [`Account`] in, the text of a file out, in the form that each family of phones reads when it starts or when
//! the file is uploaded on its own page. Only the account is set; what a phone looks like stays with whoever owns it.
//!
//! Left out on purpose: serving the files. They hold passwords, and phones fetch them without proving who they are.

use std::fmt::Write as _;

/// Seconds after which a phone registers again.
const EXPIRES_SECONDS: u32 = 600;

/// Phones that read the same kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Yealink T, W and CP series: `MAC.cfg`.
    Yealink,
    /// Snom D and M series: XML.
    Snom,
    /// Grandstream GXP, GRP and HT series: XML of P values, `cfgMAC.xml`.
    Grandstream,
    /// Poly and Polycom VVX, Edge and SoundPoint: XML.
    Polycom,
    /// Linphone on computers and mobile phones: remote provisioning in XML.
    Linphone,
}

/// How the phone speaks to the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// UDP and RTP.
    Plain,
    /// TLS and SRTP.
    Secure,
}

/// What a phone has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User name and authentication name.
    pub extension: String,
    /// What the phone shows.
    pub name: String,
    /// In clear text: phones keep it so.
    pub password: String,
    /// Host or address of the box.
    pub server: String,
    /// Port there.
    pub port: u16,
    /// See there.
    pub line: Line,
}

impl Family {
    /// What the file is called, with the phone's hardware address for `MAC` where there is one in it.
    pub fn file_name(self, extension: &str) -> String {
        match self {
            Family::Yealink => "MAC.cfg".to_owned(),
            Family::Grandstream => "cfgMAC.xml".to_owned(),
            Family::Snom | Family::Polycom | Family::Linphone => format!("{extension}.xml"),
        }
    }

    /// The file for one account, the phone's first.
    pub fn settings(self, account: &Account) -> String {
        match self {
            Family::Yealink => yealink(account),
            Family::Snom => snom(account),
            Family::Grandstream => grandstream(account),
            Family::Polycom => polycom(account),
            Family::Linphone => linphone(account),
        }
    }
}

impl Account {
    fn label(&self) -> &str {
        if self.name.is_empty() { &self.extension } else { &self.name }
    }

    /// The one of two values that fits the line.
    fn by_line<'a>(&self, plain: &'a str, secure: &'a str) -> &'a str {
        match self.line {
            Line::Plain => plain,
            Line::Secure => secure,
        }
    }
}

fn yealink(account: &Account) -> String {
    let port = account.port.to_string();
    let expires = EXPIRES_SECONDS.to_string();
    let mut text = "#!version:1.0.0.1\n".to_owned();
    for (key, value) in [
        ("enable", "1"),
        ("label", account.label()),
        ("display_name", account.label()),
        ("user_name", &account.extension),
        ("auth_name", &account.extension),
        ("password", &account.password),
        ("sip_server.1.address", &account.server),
        ("sip_server.1.port", &port),
        ("sip_server.1.transport_type", account.by_line("0", "2")),
        ("sip_server.1.expires", &expires),
        ("srtp_encryption", account.by_line("0", "2")),
        ("subscribe_mwi", "1"),
    ] {
        let _ = writeln!(text, "account.1.{key} = {}", one_line(value));
    }
    text
}

fn snom(account: &Account) -> String {
    let host = format!("{}:{};transport={}", account.server, account.port, account.by_line("udp", "tls"));
    let expires = EXPIRES_SECONDS.to_string();
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<settings>\n  <phone-settings>\n".to_owned();
    for (key, value) in [
        ("user_active", "on"),
        ("user_realname", account.label()),
        ("user_name", &account.extension),
        ("user_pname", &account.extension),
        ("user_pass", &account.password),
        ("user_host", &host),
        ("user_expiry", &expires),
        ("user_srtp", account.by_line("off", "on")),
        ("user_savp", account.by_line("off", "mandatory")),
    ] {
        let _ = writeln!(text, "    <{key} idx=\"1\" perm=\"\">{}</{key}>", escaped(value));
    }
    text + "  </phone-settings>\n</settings>\n"
}

fn grandstream(account: &Account) -> String {
    let server = format!("{}:{}", account.server, account.port);
    let minutes = (EXPIRES_SECONDS / 60).to_string();
    let mut text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gs_provision version=\"1\">\n  <config version=\"1\">\n"
            .to_owned();
    for (key, what, value) in [
        ("P271", "account is active", "1"),
        ("P270", "account name", account.label()),
        ("P3", "name", account.label()),
        ("P47", "SIP server", &server),
        ("P35", "SIP user", &account.extension),
        ("P36", "authentication name", &account.extension),
        ("P34", "authentication password", &account.password),
        ("P130", "transport", account.by_line("0", "2")),
        ("P183", "SRTP", account.by_line("0", "2")),
        ("P32", "minutes of a registration", &minutes),
        ("P99", "subscribes to waiting messages", "1"),
    ] {
        let _ = writeln!(text, "    <{key}>{}</{key}> <!-- {what} -->", escaped(value));
    }
    text + "  </config>\n</gs_provision>\n"
}

fn polycom(account: &Account) -> String {
    let port = account.port.to_string();
    let expires = EXPIRES_SECONDS.to_string();
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<polycomConfig>\n  <reg".to_owned();
    for (key, value) in [
        ("reg.1.address", account.extension.as_str()),
        ("reg.1.label", account.label()),
        ("reg.1.displayName", account.label()),
        ("reg.1.auth.userId", &account.extension),
        ("reg.1.auth.password", &account.password),
        ("reg.1.server.1.address", &account.server),
        ("reg.1.server.1.port", &port),
        ("reg.1.server.1.transport", account.by_line("UDPOnly", "TLS")),
        ("reg.1.server.1.expires", &expires),
        ("reg.1.srtp.enable", "1"),
        ("reg.1.srtp.offer", account.by_line("0", "1")),
        ("reg.1.srtp.require", account.by_line("0", "1")),
    ] {
        let _ = write!(text, "\n    {key}=\"{}\"", escaped(value));
    }
    let subscribed = escaped(&account.extension);
    let _ = write!(text, "/>\n  <msg msg.mwi.1.subscribe=\"{subscribed}\"/>\n</polycomConfig>\n");
    text
}

fn linphone(account: &Account) -> String {
    let Account { extension, server, port, .. } = account;
    let registrar = format!("<sip:{server}:{port};transport={}>", account.by_line("udp", "tls"));
    let identity = format!("\"{}\" <sip:{extension}@{server}>", account.label().replace(['"', '\\'], ""));
    let expires = EXPIRES_SECONDS.to_string();
    let sections: [(&str, &[(&str, &str)]); 3] = [
        ("sip", &[("media_encryption", account.by_line("none", "srtp")), ("default_proxy", "0")]),
        (
            "proxy_0",
            &[
                ("reg_proxy", &registrar),
                ("reg_identity", &identity),
                ("reg_expires", &expires),
                ("reg_sendregister", "1"),
                ("publish", "0"),
            ],
        ),
        ("auth_info_0", &[("username", extension), ("passwd", &account.password), ("domain", server)]),
    ];
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <config xmlns=\"http://www.linphone.org/xsds/lpconfig.xsd\">\n"
        .to_owned();
    for (section, entries) in sections {
        let _ = writeln!(text, "  <section name=\"{section}\">");
        for (key, value) in entries {
            let _ = writeln!(text, "    <entry name=\"{key}\" overwrite=\"true\">{}</entry>", escaped(value));
        }
        text += "  </section>\n";
    }
    text + "</config>\n"
}

/// A value must not begin another key.
fn one_line(value: &str) -> String {
    value.replace(['\r', '\n'], " ")
}

/// For text and attributes of XML.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '"' => text += "&quot;",
            '\'' => text += "&apos;",
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn account(line: Line) -> Account {
        Account {
            extension: "101".into(),
            name: "Sales & \"Service\"\n".into(),
            password: "k7<mq&4x".into(),
            server: "192.0.2.10".into(),
            port: if line == Line::Secure { 5_061 } else { 5_060 },
            line,
        }
    }

    #[test]
    fn each_file_names_the_account_and_nothing_breaks_out_of_its_value() {
        for family in Family::value_variants() {
            let text = family.settings(&account(Line::Plain));
            for wanted in ["101", "192.0.2.10", "5060"] {
                assert!(text.contains(wanted), "{family:?} without {wanted}:\n{text}");
            }
            let is_xml = *family != Family::Yealink;
            assert!(text.contains(if is_xml { "k7&lt;mq&amp;4x" } else { "k7<mq&4x" }), "{family:?}:\n{text}");
            assert!(!text.contains("\"Service\"\n"), "{family:?}:\n{text}");
        }
    }

    #[test]
    fn a_secure_line_is_secure_in_every_file() {
        for (family, transport, encryption) in [
            (Family::Yealink, "transport_type = 2", "srtp_encryption = 2"),
            (Family::Snom, ";transport=tls<", ">mandatory</user_savp>"),
            (Family::Grandstream, "<P130>2<", "<P183>2<"),
            (Family::Polycom, "transport=\"TLS\"", "srtp.require=\"1\""),
            (Family::Linphone, ";transport=tls&gt;", ">srtp<"),
        ] {
            let text = family.settings(&account(Line::Secure));
            assert!(text.contains(transport) && text.contains(encryption) && text.contains("5061"), "{text}");
            let plain = family.settings(&account(Line::Plain));
            assert!(!plain.contains(transport) && !plain.contains(encryption), "{plain}");
        }
    }
}
