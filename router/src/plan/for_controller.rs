//! What only the leading controller can decide: a request goes there in its latest version, and the client hears of it
//! when this router's image is as far as the controller's was.
//!
//! A client that is told of a change may rely on it at once: this router must not say then that there is none. Waiting
//! ends with the request's deadline; the outcome is told all the same, for it has happened.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::Request;

/// A request that the leading controller answers.
pub trait ForController: Request {
    /// The version in which it is asked.
    const VERSION: i16;

    /// Returns how many topics, partitions, resources and settings it names.
    fn items(&self) -> usize;

    /// Returns how long the client waits, in milliseconds; `None` if it does not say.
    fn timeout_ms(&self) -> Option<i32>;

    /// Returns the answer when there is none from a controller: everything that is asked for once.
    fn unanswered(&self, unanswered: Unanswered) -> Self::Response;
}

/// How far a request got that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It was never sent.
    Unsent,
    /// It may have been done.
    Sent,
}

impl Unanswered {
    /// Returns what a client is told.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unsent => ErrorCode::NotController,
            Self::Sent => ErrorCode::RequestTimedOut,
        }
    }

    /// Returns the same in words.
    #[must_use]
    pub fn text(self) -> Option<ByteString> {
        Some(ByteString::from_static(match self {
            Self::Unsent => "no controller can be reached; nothing was done",
            Self::Sent => "the controller has not answered; it may have been done",
        }))
    }
}

/// Returns what a request names, each once.
pub(super) fn once<T: Ord>(names: impl Iterator<Item = T>) -> Vec<T> {
    let mut names: Vec<T> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
pub(super) mod tests {
    use keylane_protocol::frame::response_frame;

    use super::*;

    /// Checks that a request without an answer is told so, in words where `codes` finds them, in every version.
    pub(in crate::plan) fn check_unanswered<R: ForController>(
        request: &R,
        versions: std::ops::RangeInclusive<i16>,
        codes: impl Fn(&R::Response) -> Vec<(ErrorCode, Option<ByteString>)>,
        count: usize,
    ) {
        for (unanswered, code) in [
            (Unanswered::Unsent, ErrorCode::NotController),
            (Unanswered::Sent, ErrorCode::RequestTimedOut),
        ] {
            let response = request.unanswered(unanswered);
            let told = codes(&response);
            assert_eq!(told.len(), count, "each once");
            assert!(told.iter().all(|told| *told == (code, unanswered.text())));
            for version in versions.clone() {
                response_frame(&response, version, 1).expect("the version can carry it");
            }
        }
    }

    #[test]
    fn what_was_not_sent_can_be_sent_again_and_the_other_not_blindly() {
        assert!(Unanswered::Unsent.code().is_retriable());
        assert_ne!(Unanswered::Unsent.code(), Unanswered::Sent.code());
        assert_ne!(Unanswered::Unsent.text(), Unanswered::Sent.text());
    }
}
