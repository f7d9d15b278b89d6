//! An error on one line, with what caused it: for logs, terminals and reasons that outlive the error.

use std::error::Error;

/// The error's message and those of its causes, from the outermost in, with colons between.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Failed {
        what: &'static str,
        source: Option<Box<Self>>,
    }

    fn failed(what: &'static str, source: Option<Failed>) -> Failed {
        let source = source.map(Box::new);
        Failed { what, source }
    }

    #[test]
    fn causes_follow_from_the_outermost_in() {
        let disk = failed("disk full", None);
        assert_eq!(chain(&disk), "disk full");
        let error = failed("cannot keep it", Some(failed("cannot write a", Some(disk))));
        assert_eq!(chain(&error), "cannot keep it: cannot write a: disk full");
    }
}
