//! A thread with a runtime of its own, which a server lives on.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

/// A running server. Dropping it stops the server and waits until its sockets are closed.
pub(crate) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs `setup` on a new thread, inside the network namespace at `netns` if there is one, and then the future it
    /// gives until that ends or the worker is dropped. Returns what `setup` hands out besides, or its error.
    pub(crate) fn start<T, S, M>(
        name: &str,
        netns: Option<PathBuf>,
        setup: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<(Self, T)>
    where
        T: Send + 'static,
        S: Future<Output = io::Result<(T, M)>>,
        M: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || {
            let begin = || {
                if let Some(path) = netns {
                    // A namespace belongs to a thread, not to the process: nothing outside this thread moves.
                    move_into_link_name_space(File::open(path)?.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let (handed_out, main) = runtime.block_on(setup())?;
                io::Result::Ok((runtime, handed_out, main))
            };
            match begin() {
                Err(error) => drop(tell.send(Err(error))),
                Ok((runtime, handed_out, main)) => {
                    if tell.send(Ok(handed_out)).is_ok() {
                        runtime.block_on(async {
                            tokio::select! {
                                () = main => {}
                                _ = stopped => {}
                            }
                        });
                    }
                }
            }
        })?;
        let worker = Self { stop: Some(stop), thread: Some(thread) };
        match told.recv() {
            Ok(Ok(handed_out)) => Ok((worker, handed_out)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other(format!("the thread of {name} ended while it was starting"))),
        }
    }

    /// Stops the server without blocking the caller's runtime; its sockets are closed when this returns.
    pub(crate) async fn stop(self) {
        // Waiting for a thread blocks, so another thread does it.
        let (done, finished) = oneshot::channel();
        std::thread::spawn(move || {
            drop(self);
            let _ = done.send(());
        });
        let _ = finished.await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a server of the lab panicked; its message is above");
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("running", &self.thread.is_some()).finish()
    }
}
