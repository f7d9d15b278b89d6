//! A small HTTP server in this process, whose port closes and opens as a scenario wants.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The connection is to be cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
pub struct Lost;

/// An open port. Its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Opens `address` and answers every request there with `answer`.
    ///
    /// # Panics
    /// When somebody else has taken the address.
    pub async fn open<Answering>(
        address: SocketAddr,
        answer: impl Fn(Request<Incoming>) -> Answering + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Answering: Future<Output = Result<Response<Full<Bytes>>, Lost>> + Send + 'static,
    {
        let listener = TcpListener::bind(address)
            .await
            .expect("its address is its own");
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, answer, stopped));
        Self { stop, task }
    }

    /// Closes the port and every connection, and waits until they are.
    pub async fn close(self) {
        drop(self.stop);
        // Its connections are aborted with it.
        let _ = self.task.await;
    }
}

async fn serve<Answering>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> Answering + Clone + Send + Sync + 'static,
    mut stopped: watch::Receiver<bool>,
) where
    Answering: Future<Output = Result<Response<Full<Bytes>>, Lost>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let service = service_fn(answer.clone());
                connections.spawn(async move {
                    // An error here is the broken connection that some scenarios are about.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            // Ended connections need no look; this keeps the set small.
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => return,
        }
    }
}
