//! The status of each answer, which `object_store` does not tell in its errors.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// What is noted of the answer to one request, which carries it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// 0 until there is an answer.
    status: AtomicU32,
    /// Seconds that the endpoint asks to wait for.
    retry_after: AtomicU64,
}

impl Answer {
    /// The HTTP status; `None` if there was no answer.
    pub(super) fn status(&self) -> Option<u16> {
        let status = self.status.load(Relaxed);
        (status > 0).then_some(status as u16)
    }

    /// How long the endpoint asks to wait before the next request.
    pub(super) fn retry_after(&self) -> Duration {
        Duration::from_secs(self.retry_after.load(Relaxed))
    }
}

/// Makes one HTTP client, with one set of connections, and gives it to all stores that ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Connector(Arc<OnceLock<HttpClient>>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        if let Some(client) = self.0.get() {
            return Ok(client.clone());
        }
        let client = HttpClient::new(Observer(ReqwestConnector::default().connect(options)?));
        Ok(self.0.get_or_init(|| client).clone())
    }
}

#[derive(Debug)]
struct Observer(HttpClient);

#[async_trait]
impl HttpService for Observer {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = request.extensions().get::<Arc<Answer>>().cloned();
        let response = self.0.execute(request).await?;
        if let Some(answer) = answer {
            answer.status.store(u32::from(response.status().as_u16()), Relaxed);
            let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            answer.retry_after.store(seconds.unwrap_or(0), Relaxed);
        }
        Ok(response)
    }
}
