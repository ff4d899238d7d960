//! The status of each answer, which `object_store` does not tell in its errors.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
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

/// Hosts that an instance or a container asks for credentials.
const METADATA_HOSTS: [&str; 4] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "metadata.google.internal"];

/// Makes one HTTP client, with one set of connections, and gives it to all stores that ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Connector {
    client: Arc<OnceLock<HttpClient>>,
    lacks_credentials: Arc<AtomicBool>,
}

impl Connector {
    /// Whether the instance was asked for credentials last, in vain.
    pub(super) fn lacks_credentials(&self) -> bool {
        self.lacks_credentials.load(Relaxed)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let (client, lacks_credentials) =
            (ReqwestConnector::default().connect(options)?, Arc::clone(&self.lacks_credentials));
        let client = HttpClient::new(Observer { client, lacks_credentials });
        Ok(self.client.get_or_init(|| client).clone())
    }
}

#[derive(Debug)]
struct Observer {
    client: HttpClient,
    lacks_credentials: Arc<AtomicBool>,
}

#[async_trait]
impl HttpService for Observer {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = request.extensions().get::<Arc<Answer>>().cloned();
        let is_of_instance = request.uri().host().is_some_and(|host| METADATA_HOSTS.contains(&host));
        let response = self.client.execute(request).await;
        if is_of_instance {
            let is_in_vain = !response.as_ref().is_ok_and(|response| response.status().is_success());
            self.lacks_credentials.store(is_in_vain, Relaxed);
        }
        let response = response?;
        if let Some(answer) = answer {
            answer.status.store(u32::from(response.status().as_u16()), Relaxed);
            let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            answer.retry_after.store(seconds.unwrap_or(0), Relaxed);
        }
        Ok(response)
    }
}
