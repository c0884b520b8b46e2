//! A path made of what a route's pattern captured: `/users/{id}/*` into `/v2/{id}/*`.
//!
//! Pure. A template is checked against its pattern when it is made; a path that the pattern does not
//! match (a plugin may have chosen the route) gives none.

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The segment at this place of the path.
    Segment(usize),
    /// All from this segment on.
    Rest(usize),
}

impl Template {
    /// Both have the form of a pattern. `Err` says what the template names that the pattern lacks.
    pub fn new(pattern: &str, template: &str) -> Result<Self, String> {
        let known: Vec<&str> = pattern.split('/').skip(1).collect();
        let mut parts: Vec<Part> = Vec::new();
        let mut text = String::new();
        for segment in template.split('/').skip(1) {
            text.push('/');
            let place = known.iter().position(|known| *known == segment);
            let part = match (segment, place) {
                ("*", Some(place)) => Part::Rest(place),
                ("*", None) => return Err("`match.path` does not end in `*`".to_owned()),
                (name, Some(place)) if name.starts_with('{') => Part::Segment(place),
                (name, None) if name.starts_with('{') => {
                    return Err(format!("`match.path` has no `{name}`"));
                }
                _ => {
                    text.push_str(segment);
                    continue;
                }
            };
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(part);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// The path that `path` becomes. It never begins with two slashes, which could be taken for an
    /// authority.
    pub fn expand(&self, path: &str) -> Option<String> {
        let mut out = String::with_capacity(path.len() + 16);
        for part in &self.parts {
            let piece = match part {
                Part::Text(text) => text,
                Part::Segment(place) => path.split('/').nth(place + 1)?,
                Part::Rest(place) => path.splitn(place + 2, '/').nth(place + 1)?,
            };
            let piece = if out == "/" {
                piece.trim_start_matches('/')
            } else {
                piece
            };
            out.push_str(piece);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Template;

    #[test]
    fn captures_and_the_rest_take_their_places() {
        for (pattern, template, path, expected) in [
            ("/v1/*", "/v2/*", "/v1/a/b", Some("/v2/a/b")),
            ("/v1/*", "/*", "/v1/a/b", Some("/a/b")),
            ("/v1/*", "/*", "/v1/", Some("/")),
            ("/*", "/api/*", "/a/b/", Some("/api/a/b/")),
            (
                "/users/{id}",
                "/u/{id}/profile",
                "/users/7",
                Some("/u/7/profile"),
            ),
            ("/{a}/{b}/*", "/{b}/{a}/x/*", "/1/2/3/4", Some("/2/1/x/3/4")),
            ("/{a}/{b}", "/{b}/{b}", "/1/2", Some("/2/2")),
            ("/old", "/new", "/old", Some("/new")),
            ("/old", "/new/", "/old", Some("/new/")),
            // What the pattern would not have matched.
            ("/{a}/{b}", "/{b}", "/1", None),
            ("/v1/*", "/*", "/v1", None),
        ] {
            let template = Template::new(pattern, template).unwrap();
            let expanded = template.expand(path);
            assert_eq!(expanded.as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_the_pattern_lacks_is_refused() {
        for (pattern, template) in [("/a", "/*"), ("/{a}", "/{b}"), ("/a", "/{a}")] {
            assert!(Template::new(pattern, template).is_err(), "{template}");
        }
    }

    #[test]
    fn no_path_becomes_one_that_could_be_an_authority() {
        let template = Template::new("/v1/*", "/*").unwrap();
        assert_eq!(template.expand("/v1//evil.test").unwrap(), "/evil.test");
        assert_eq!(template.expand("/v1///evil.test").unwrap(), "/evil.test");
        let template = Template::new("/{a}/*", "/*").unwrap();
        assert_eq!(template.expand("/x//y").unwrap(), "/y");
    }

    proptest! {
        #[test]
        fn a_template_like_its_pattern_changes_nothing(
            segments in proptest::collection::vec("[a-z0-9.~%-]{1,6}", 1..6),
        ) {
            let path = format!("/{}", segments.join("/"));
            let names: Vec<String> = (0..segments.len()).map(|at| format!("{{c{at}}}")).collect();
            let pattern = format!("/{}", names.join("/"));
            let template = Template::new(&pattern, &pattern).unwrap();
            prop_assert_eq!(template.expand(&path), Some(path));
        }
    }
}
