//! The methods of HTTP that something has.

use hyper::Method;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpVerb {
    /// HEAD, too.
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

impl HttpVerb {
    /// The one of a request, if any operation has it.
    pub(super) fn of(method: &Method) -> Option<HttpVerb> {
        match *method {
            Method::GET | Method::HEAD => Some(HttpVerb::Get),
            Method::PUT => Some(HttpVerb::Put),
            Method::PATCH => Some(HttpVerb::Patch),
            Method::POST => Some(HttpVerb::Post),
            Method::DELETE => Some(HttpVerb::Delete),
            _ => None,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            HttpVerb::Get => "GET",
            HttpVerb::Put => "PUT",
            HttpVerb::Patch => "PATCH",
            HttpVerb::Post => "POST",
            HttpVerb::Delete => "DELETE",
        }
    }
}
