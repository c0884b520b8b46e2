use crate::{config, trace::recorder::Recorder};
pub struct Capture;
impl Capture {
    pub fn new<'a>(_: impl IntoIterator<Item = &'a config::Filters>) -> Self { Self }
    pub fn capture_headers(&self, _: &http::HeaderMap, _: &mut Recorder) {}
}
