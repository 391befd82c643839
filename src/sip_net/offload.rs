//! A thread with a runtime of its own, for what would take too long on the control core.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;

/// The thread. Dropping this ends it, and with it whatever runs on it.
pub(super) struct Offload {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl Offload {
    pub(super) fn start(name: &str) -> io::Result<Offload> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(stopped));
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Offload { handle, _running: running })
    }

    /// Until this is dropped, sockets that are opened and tasks that are spawned belong to the thread.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }
}
