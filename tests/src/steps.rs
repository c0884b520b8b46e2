//! Scripts of a tutorial's commands, and how long each took: that is shown, and nobody's to judge.

/// What such a script begins with: it ends at the first fault, ends what it left running, and says on
/// standard error when each of its commands began.
pub const BEGIN: &str = "set -euo pipefail
trap 'kill $(jobs -p)' EXIT
trap 'echo \"step ${SECONDS}s: ${BASH_COMMAND%%[[:cntrl:]]*}\" >&2' DEBUG
";

/// Prints the seconds of each step, by what the script said.
pub fn show(said: &str) {
    let began = said.lines().filter_map(|line| {
        let (at, command) = line.strip_prefix("step ")?.split_once("s: ")?;
        Some((at.parse::<u64>().ok()?, command))
    });
    let steps: Vec<_> = began.collect();
    for pair in steps.windows(2) {
        let ((began, command), (ended, _)) = (pair[0], pair[1]);
        println!("{:>4} s  {command}", ended.saturating_sub(began));
    }
}
