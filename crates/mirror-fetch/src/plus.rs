//! The form in which the `+` of a version is sent. Object stores read a bare `+` in a path as a space and need `%2B`;
//! simple file servers know only the bare one, which Cargo sends.

use std::sync::atomic::{AtomicU8, Ordering};

use url::Url;

/// One of the two ways to send a `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Escaped = 1,
    Bare = 2,
}

fn form(url: &Url) -> Option<Form> {
    let path = url.path();
    if path.contains("%2B") || path.contains("%2b") {
        Some(Form::Escaped)
    } else {
        path.contains('+').then_some(Form::Bare)
    }
}

/// Returns whether the address can be sent in two forms.
pub(crate) fn matters(url: &Url) -> bool {
    form(url).is_some()
}

fn in_form(url: &Url, form: Form) -> Url {
    let mut other = url.clone();
    other.set_path(&match form {
        Form::Escaped => url.path().replace('+', "%2B"),
        Form::Bare => url.path().replace("%2B", "+").replace("%2b", "+"),
    });
    other
}

/// The form that one origin is known to accept: the one that it has answered with a file.
#[derive(Debug, Default)]
pub(crate) struct KnownForm(AtomicU8);

impl KnownForm {
    fn get(&self) -> Option<Form> {
        [Form::Escaped, Form::Bare].into_iter().find(|form| *form as u8 == self.0.load(Ordering::Relaxed))
    }

    /// Notes that the origin answered this address with a file.
    pub(crate) fn learn(&self, url: &Url) {
        if let Some(form) = form(url) {
            self.0.store(form as u8, Ordering::Relaxed);
        }
    }

    /// Returns the address in the origin's form; unchanged while that is unknown.
    pub(crate) fn preferred(&self, url: &Url) -> Option<Url> {
        let wanted = self.get().filter(|wanted| form(url).is_some_and(|now| now != *wanted))?;
        Some(in_form(url, wanted))
    }

    /// Returns the other form of an address that was not found, while the origin's form is unknown.
    pub(crate) fn alternative(&self, url: &Url) -> Option<Url> {
        if self.get().is_some() {
            return None;
        }
        let other = match form(url)? {
            Form::Escaped => Form::Bare,
            Form::Bare => Form::Escaped,
        };
        Some(in_form(url, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_form_is_tried_until_one_is_known() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (escaped, bare) =
            (url("https://h/a/a-1.0.0%2Bx.crate?q=a+b"), url("https://h/a/a-1.0.0+x.crate?q=a+b"));
        let known = KnownForm::default();
        assert_eq!(known.alternative(&escaped), Some(bare.clone()));
        assert_eq!(known.alternative(&bare), Some(escaped.clone()));
        assert_eq!((known.preferred(&escaped), known.alternative(&url("https://h/a?b=+"))), (None, None));
        known.learn(&url("https://h/plain"));
        assert_eq!(known.preferred(&escaped), None);
        known.learn(&bare);
        assert_eq!((known.preferred(&escaped), known.preferred(&bare)), (Some(bare.clone()), None));
        assert_eq!((known.alternative(&escaped), known.alternative(&bare)), (None, None));
    }
}
