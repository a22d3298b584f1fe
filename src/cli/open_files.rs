//! Each connection is an open file, and many systems start a process with leave for 1024.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files beside the connections: the log, the runtime, the model server.
const BESIDE: u64 = 256;

/// Takes the leave that the process may give itself, and says so where that is not enough.
pub(super) fn allow_for(connections: u32) {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = (u64::from(connections) + BESIDE).min(most);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(wanted);
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || wanted < u64::from(connections) + BESIDE {
        tracing::warn!(
            max_connections = connections,
            open_files = most,
            "fewer files may be open than --max-connections asks for; past that, idle connections are closed to make room"
        );
    }
}
