//! A Revision, build inputs and the App's Builds → the wanted Build: an existing one, or a new one and its cause. Pure.
//!
//! A Build's name is a hash of its inputs. So the operator does not build the same inputs again, not even after a
//! failure. A new commit, another input or a request gives another name.
//!
//! There are two exceptions, in which the operator makes another attempt with the same inputs. First, some values are
//! not in the hash, because they do not change the image or must not make a Build on their own; if a Build has failed
//! and such a value changes, there is another attempt. Second, if something outside the Build interrupted it, there are
//! more attempts, after growing delays and up to a limit.

mod attempts;
mod causes;
mod hash;
mod input;
mod seen;
#[cfg(test)]
mod tests;

pub use attempts::RETRIES;
pub use input::{Input, Verdict};
pub use seen::{in_brief, outdated, variables};

use crate::{
    decide::{
        build::{
            attempts::{attempts, retry_at, stands},
            causes::{Asked, causes},
            hash::{inputs, name},
        },
        chain::first,
    },
    order::newest,
};

/// Decides which Build is wanted.
pub fn verdict<'a>(input: &Input<'a>) -> Verdict<'a> {
    let request = request(input);
    let attempts = attempts(input, request);
    let last = attempts.last();
    match (retry_at(&attempts, input), last) {
        (Some(at), Some((_, build))) if input.now < at => return Verdict::Retry(build, at),
        (Some(_), _) => {}
        // The latest attempt counts: an earlier one may have been pruned, and that must not make a Build.
        (None, _) => {
            let newer = attempts.iter().rev();
            let mut standing = newer.filter(|(_, b)| stands(b, input, &attempts));
            if let Some((_, build)) = standing.next() {
                return Verdict::Exists(build);
            }
        }
    }
    let asked = Asked {
        input: *input,
        request,
        replaced: last.map(|(_, build)| *build),
        previous: newest(input.builds),
    };
    let cause = first(&causes(), &asked)
        .map_or_else(|| "build inputs changed".to_owned(), |(_, cause)| cause);
    let attempt = last.map_or(1, |(attempt, _)| attempt + 1);
    Verdict::Make {
        name: name(input, request, attempt),
        inputs: inputs(input, request),
        attempt,
        cause,
        request: request.map(str::to_owned),
    }
}

/// The current request. If the annotation is gone, the newest Build's request still counts, so that removing the
/// annotation makes no Build.
fn request<'a>(input: &Input<'a>) -> Option<&'a str> {
    input
        .request
        .or_else(|| newest(input.builds)?.spec.request.as_deref())
}
