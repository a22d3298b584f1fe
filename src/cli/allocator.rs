//! glibc's allocator, told to keep what is freed (docs/adr/0018): a photo's megabytes are not fetched anew for each photo.
//!
//! glibc takes this by its environment, which it reads before `main`, or by `mallopt`, which wants `unsafe`. So the process
//! puts itself in its own place once, with the variable set: the same program, arguments and process id.

/// Two arenas; blocks of up to 32 MiB in them and not mapped each by itself; up to 64 MiB kept at the end of each.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: &str =
    "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=67108864";

/// Goes on as a process whose allocator is told so. One that has been told something by its operator is left alone, and where
/// it does not work, all goes on as it was, only slower.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn keep_what_is_freed() {
    use std::env;
    use std::os::unix::process::CommandExt;

    let is_told = |name: &std::ffi::OsStr| {
        name == "GLIBC_TUNABLES" || name == "LD_PRELOAD" || name.as_encoded_bytes().starts_with(b"MALLOC_")
    };
    if env::vars_os().any(|(name, _)| is_told(&name)) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only where it fails.
    let _ = again.args(arguments).env("GLIBC_TUNABLES", TUNABLES).exec();
}

/// Other allocators have ways of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn keep_what_is_freed() {}
