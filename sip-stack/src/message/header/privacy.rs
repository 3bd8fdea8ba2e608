//! Privacy: what of a caller's identity may be shown (RFC 3323 §4.2, RFC 3325 §9.3).

use super::super::headers::Headers;
use super::HeaderName;

/// What the sender asks for. Everything is `false` without the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// `id`: the asserted identity is for trusted parties only; do not show the number.
    pub id: bool,
    /// `user`, `header` or `session`: hide what else could name the user.
    pub user: bool,
    /// `critical`: rather refuse than not hide.
    pub critical: bool,
}

impl Privacy {
    /// From all headers of that name. Values are separated by semicolons; unknown ones and white space spoil nothing.
    pub fn of(headers: &Headers) -> Self {
        let name = HeaderName::PRIVACY;
        let mut privacy = Self::default();
        for field in headers.all(&name) {
            for value in field.value().split(|byte| matches!(byte, b';' | b',')) {
                match value.trim_ascii().to_ascii_lowercase().as_slice() {
                    b"id" => privacy.id = true,
                    b"user" | b"header" | b"session" => privacy.user = true,
                    b"critical" => privacy.critical = true,
                    _ => {}
                }
            }
        }
        privacy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_add_up_and_unknown_ones_spoil_nothing() {
        let mut headers = Headers::default();
        assert_eq!(Privacy::of(&headers), Privacy::default());
        headers.push(HeaderName::PRIVACY, "none");
        assert_eq!(Privacy::of(&headers), Privacy::default());
        headers.push(HeaderName::PRIVACY, "ID; critical ;history");
        assert_eq!(Privacy::of(&headers), Privacy { id: true, user: false, critical: true });
        headers.push(HeaderName::PRIVACY, "header");
        assert!(Privacy::of(&headers).user);
    }
}
