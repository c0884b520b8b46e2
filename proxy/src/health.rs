//! How a part of Weir that may fail and recover by itself fares, as `/readyz` and the console tell it.

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not there yet, and nothing wrong yet.
    Starting,
    Ok,
    /// What is wrong, as logged. Traces wait; plugins are told that their values are not available; the
    /// certificate that was there is shown further.
    Degraded(String),
}

impl State {
    /// Its name, and what is wrong.
    pub fn told(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Starting => ("starting", None),
            Self::Ok => ("ok", None),
            Self::Degraded(message) => ("degraded", Some(message)),
        }
    }
}
