//! Keeps certificates: a task for each name, which orders one where there is none, and another
//! before it expires. What cannot be had is tried again, ever later; what is there stays meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::Account;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::task::AbortHandle;

use super::order::{self, Error, Stage};
use super::state::Folder;
use super::{Answers, Challenge, Issuer, Shown, Spec};
use crate::health::State;
use crate::lock::lock;
use crate::tls::Server;
use crate::tls::certificate::Identity;

/// Waits after a first failure, and after each further one at most. Directories count what fails: they
/// allow about five an hour.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Most orders under way at a directory.
const ORDERS: usize = 4;

/// The longest sleep before the wall clock is looked at again.
const LOOK: Duration = Duration::from_mins(10);

/// How a certificate fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub domain: String,
    pub state: State,
    /// When the certificate that is shown expires, in seconds since 1970.
    pub expires: Option<i64>,
    /// Orders that gave a certificate, and that did not.
    pub issued: u64,
    pub failed: u64,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Keeper {
    data_dir: Option<PathBuf>,
    kept: Mutex<HashMap<Name, Kept>>,
    shared: Arc<Shared>,
}

/// What all names share.
#[derive(Default)]
struct Shared {
    answers: Arc<Answers>,
    directories: Mutex<Vec<(Arc<Issuer>, Arc<Directory>)>>,
}

/// What names of one directory share: one that hangs holds up no other's.
struct Directory {
    orders: Semaphore,
    /// Made by the first order, for which the others wait.
    account: Mutex<Arc<OnceCell<Account>>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            orders: Semaphore::new(ORDERS),
            account: Mutex::default(),
        }
    }
}

/// A directory's URL, and a domain.
type Name = (String, String);

struct Kept {
    subject: Arc<Subject>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A name with its certificate.
struct Subject {
    domain: String,
    now: Mutex<Now>,
    /// Something is to be done at once, or otherwise.
    changed: Notify,
}

struct Now {
    wanted: Wanted,
    certificate: Option<Identity>,
    state: State,
    issued: u64,
    failed: u64,
    /// Who shows it.
    audience: Vec<Weak<Shown>>,
}

impl Now {
    fn shown(&self) -> impl Iterator<Item = Arc<Shown>> {
        self.audience.iter().filter_map(Weak::upgrade)
    }
}

#[derive(Clone, PartialEq)]
struct Wanted {
    issuer: Arc<Issuer>,
    challenge: Challenge,
    renew_before: Option<Duration>,
}

impl Keeper {
    pub fn new(data_dir: Option<&Path>) -> Self {
        Self {
            data_dir: data_dir.map(Path::to_owned),
            ..Self::default()
        }
    }

    /// What is answered to HTTP-01.
    pub fn answers(&self) -> &Arc<Answers> {
        &self.shared.answers
    }

    /// Keeps what these servers show, and nothing else: each has what is there when this returns.
    /// What failed before is tried at once. Called on a runtime.
    pub fn apply<'s>(&self, servers: impl Iterator<Item = &'s Arc<Server>>) {
        let Some(data_dir) = &self.data_dir else {
            return;
        };
        let mut kept = lock(&self.kept);
        let mut wanted = Vec::new();
        for (spec, shown) in servers.filter_map(|server| server.acme()) {
            for domain in &spec.domains {
                let name = (spec.issuer.directory.clone(), domain.clone());
                let first = !wanted.contains(&name);
                let kept = kept.entry(name.clone()).or_insert_with(|| {
                    let subject = Arc::new(Subject::new(domain, spec, data_dir));
                    let task = keep(
                        Arc::clone(&subject),
                        data_dir.clone(),
                        Arc::clone(&self.shared),
                    );
                    let task = tokio::spawn(task).abort_handle();
                    Kept { subject, task }
                });
                kept.subject.attend(shown);
                if first {
                    kept.subject.want(spec);
                    wanted.push(name);
                }
            }
        }
        // A name whose directory is another now keeps what it has until that one has issued.
        for (name, gone) in kept.iter().filter(|(name, _)| !wanted.contains(name)) {
            let same = |(other, _): &(&Name, &Kept)| other.1 == name.1 && wanted.contains(other);
            for (_, kept) in kept.iter().filter(same) {
                kept.subject.inherit(&gone.subject);
            }
        }
        kept.retain(|name, _| wanted.contains(name));
    }

    /// In the order of names.
    pub fn status(&self) -> Vec<Status> {
        let kept = lock(&self.kept);
        let mut all: Vec<_> = kept.values().map(|kept| kept.subject.status()).collect();
        all.sort_by(|one, other| one.domain.cmp(&other.domain));
        all
    }
}

impl Subject {
    fn new(domain: &str, spec: &Spec, data_dir: &Path) -> Self {
        let certificate = Folder::of(data_dir, &spec.issuer).certificate(domain);
        Self {
            domain: domain.to_owned(),
            now: Mutex::new(Now {
                wanted: Wanted::of(spec),
                state: match certificate {
                    Some(_) => State::Ok,
                    None => State::Starting,
                },
                certificate,
                issued: 0,
                failed: 0,
                audience: Vec::new(),
            }),
            changed: Notify::new(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        lock(&self.now)
    }

    fn attend(&self, shown: &Arc<Shown>) {
        let mut now = self.now();
        if let Some(certificate) = &now.certificate {
            shown.show(&self.domain, &certificate.key);
        }
        // In the middle of an order it answers as the others do.
        if let Some(known) = now.shown().next() {
            shown.join(&self.domain, &known);
        }
        now.audience.retain(|known| known.strong_count() > 0);
        let new = Arc::downgrade(shown);
        if !now.audience.iter().any(|known| known.ptr_eq(&new)) {
            now.audience.push(new);
        }
    }

    /// Shows what another subject has, where this one has nothing yet.
    fn inherit(&self, other: &Self) {
        let theirs = other.now().certificate.clone();
        let now = self.now();
        if let (None, Some(theirs)) = (&now.certificate, theirs) {
            for shown in now.shown() {
                shown.show(&self.domain, &theirs.key);
            }
        }
    }

    fn want(&self, spec: &Spec) {
        let mut now = self.now();
        let wanted = Wanted::of(spec);
        if now.wanted != wanted || matches!(now.state, State::Degraded(_)) {
            now.wanted = wanted;
            self.changed.notify_one();
        }
    }

    fn status(&self) -> Status {
        let now = self.now();
        Status {
            domain: self.domain.clone(),
            state: now.state.clone(),
            expires: now.certificate.as_ref().map(|one| one.not_after),
            issued: now.issued,
            failed: now.failed,
        }
    }

    /// How long the certificate is good for; nothing where another is due.
    fn due(&self) -> Duration {
        let now = self.now();
        let Some(certificate) = &now.certificate else {
            return Duration::ZERO;
        };
        let (from, until) = (certificate.not_before, certificate.not_after);
        due(from, until, now.wanted.renew_before, unix())
    }

    /// Puts a certificate in the place of what was there.
    fn show(&self, identity: Identity, problem: Option<String>) {
        let mut now = self.now();
        for shown in now.shown() {
            shown.show(&self.domain, &identity.key);
        }
        now.certificate = Some(identity);
        now.issued += 1;
        now.state = problem.map_or(State::Ok, State::Degraded);
    }

    fn fail(&self, message: String) {
        let mut now = self.now();
        now.failed += 1;
        now.state = State::Degraded(message);
    }
}

impl Wanted {
    fn of(spec: &Spec) -> Self {
        Self {
            issuer: Arc::clone(&spec.issuer),
            challenge: spec.challenge,
            renew_before: spec.renew_before,
        }
    }
}

fn unix() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// How long until a certificate is to be renewed. Never in the first half of its time, whatever is
/// asked for: that would be an order after the other.
fn due(from: i64, until: i64, before: Option<Duration>, now: i64) -> Duration {
    let life = until.saturating_sub(from).max(0);
    let before = before.map_or(life / 3, |before| {
        i64::try_from(before.as_secs()).unwrap_or(i64::MAX)
    });
    let at = until.saturating_sub(before.min(life / 2));
    Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or(0))
}

/// The wait after so many failures in a row.
fn back_off(failures: u32) -> Duration {
    let factor = 4u32.saturating_pow(failures.saturating_sub(1));
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

/// Keeps one certificate, for ever.
async fn keep(subject: Arc<Subject>, data_dir: PathBuf, shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let due = subject.due();
        if !due.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(due.min(LOOK)) => {}
                () = subject.changed.notified() => {}
            }
            continue;
        }
        match renew(&subject, &data_dir, &shared).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                let wait = back_off(failures);
                let (domain, seconds) = (&subject.domain, wait.as_secs());
                tracing::warn!(domain, %error, retry_after_seconds = seconds, "no certificate by ACME");
                subject.fail(error.to_string());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = subject.changed.notified() => {}
                }
            }
        }
    }
}

async fn renew(subject: &Subject, data_dir: &Path, shared: &Shared) -> Result<(), Error> {
    let wanted = subject.now().wanted.clone();
    let directory = shared.directory(&wanted.issuer);
    let _place = directory.orders.acquire().await;
    let folder = Folder::of(data_dir, &wanted.issuer);
    let account = directory.account(&wanted.issuer, &folder).await?;
    let stage = Stage {
        challenge: wanted.challenge,
        answers: &shared.answers,
        shown: &|| subject.now().shown().collect(),
    };
    let ordered = order::certificate(&account, &subject.domain, &stage).await;
    let issued = match ordered {
        Ok(issued) => issued,
        Err(error) => {
            // The next try asks the directory anew where everything is.
            directory.forget();
            if error.is_of_the_account() {
                folder.forget_account();
            }
            return Err(error);
        }
    };
    let kept = folder.keep_certificate(&subject.domain, &issued.key, &issued.chain);
    let problem = kept
        .err()
        .map(|error| format!("the certificate cannot be kept: {error}"));
    let domain = &subject.domain;
    if let Some(problem) = &problem {
        tracing::error!(domain, problem, "a restart orders the certificate again");
    }
    let expires = jiff::Timestamp::from_second(issued.identity.not_after).unwrap_or_default();
    subject.show(issued.identity, problem);
    tracing::info!(domain, %expires, "new certificate by ACME");
    Ok(())
}

impl Shared {
    fn directory(&self, issuer: &Arc<Issuer>) -> Arc<Directory> {
        let mut all = lock(&self.directories);
        if let Some((_, directory)) = all.iter().find(|(known, _)| known == issuer) {
            return Arc::clone(directory);
        }
        let directory = Arc::default();
        all.push((Arc::clone(issuer), Arc::clone(&directory)));
        directory
    }
}

impl Directory {
    async fn account(&self, issuer: &Issuer, folder: &Folder) -> Result<Account, Error> {
        let cell = Arc::clone(&lock(&self.account));
        let made = cell.get_or_try_init(|| async {
            let account = order::account(issuer, folder).await;
            if account.as_ref().is_err_and(Error::is_of_the_account) {
                folder.forget_account();
            }
            account
        });
        made.await.cloned()
    }

    fn forget(&self) {
        *lock(&self.account) = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_time_left_or_when_it_is_said() {
        let days = |days: i64| Duration::from_secs(u64::try_from(days * DAY).unwrap());
        assert_eq!(due(0, 90 * DAY, None, 0), days(60));
        assert_eq!(due(0, 90 * DAY, Some(days(10)), 0), days(80));
        assert_eq!(due(0, 90 * DAY, Some(days(10)), 79 * DAY), days(1));
        assert_eq!(due(0, 90 * DAY, None, 61 * DAY), Duration::ZERO);
        assert_eq!(due(0, 90 * DAY, None, 100 * DAY), Duration::ZERO);
        // More than it lives is no reason to renew without end.
        assert_eq!(due(0, 90 * DAY, Some(days(365)), 0), days(45));
        assert_eq!(due(90 * DAY, 0, None, 0), Duration::ZERO);
    }

    #[test]
    fn waits_grow_and_stay_within_what_directories_allow() {
        let waits: Vec<_> = (1..=7).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280, 3600, 3600]);
        assert_eq!(back_off(u32::MAX), LONGEST_WAIT);
    }
}
