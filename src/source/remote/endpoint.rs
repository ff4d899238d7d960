//! From an address to the store that it names, and the credentials for it.
//!
//! Credentials and endpoints are taken from where each cloud's own tools take them: variables of the environment, the
//! AWS profile files, application default credentials, instance metadata.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::gate::Gate;
use super::observe::Connector;
use super::profile::Profile;
use crate::source::address::scheme;
use crate::{Error, Result};

/// A store: a bucket, a container, or a web server.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) gate: Arc<Gate>,
    /// Whether it is a web server, of which nothing can be listed.
    pub(super) is_web: bool,
    kind: Kind,
    connector: Connector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    S3,
    Google,
    Azure,
    Web,
}

/// The endpoints that are in use.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    max_requests: usize,
    connect_timeout: Duration,
    options: Vec<(String, String)>,
    buckets: Mutex<HashMap<(Kind, String), Arc<Endpoint>>>,
    /// The connections to web servers, and how many there may be, by their origins.
    servers: Mutex<HashMap<String, (Connector, Arc<Gate>)>>,
}

impl Endpoints {
    pub(super) fn new(max_requests: usize, connect_timeout: Duration, options: Vec<(String, String)>) -> Self {
        Self { max_requests, connect_timeout, options, ..Self::default() }
    }

    /// The endpoint and the key of an address, which has this query.
    ///
    /// # Errors
    /// If the address is malformed, or the settings of its store are.
    pub(super) fn find(&self, address: &Path, query: Option<&str>) -> Result<(Arc<Endpoint>, Key)> {
        let wrong = |why: String| Error::config(format!("{}: {why}", address.display()));
        let Some((scheme, rest)) = scheme(address) else { return Err(wrong("it is no address".to_owned())) };
        let kind = match scheme {
            "s3" => Kind::S3,
            "gs" => Kind::Google,
            "az" => Kind::Azure,
            _ => Kind::Web,
        };
        if kind == Kind::Web && rest.split('/').next().is_some_and(|host| host.contains('@')) {
            let host = rest.rsplit('@').next().unwrap_or_default();
            return Err(Error::config(format!(
                "{scheme}://...@{host}: a name and a password in an address are not supported; take a signed address"
            )));
        }
        if kind == Kind::Web {
            return Ok((Arc::new(self.web(address, rest, query)?), Key::default()));
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong(format!("an address is {scheme}://BUCKET/KEY, and this one has no bucket")));
        }
        if !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte)) {
            return Err(wrong(format!("{bucket} is no name of a bucket, which has letters, digits, dots and hyphens")));
        }
        // Not `Path::from`, which would encode some characters of a key once more.
        let key = Key::parse(key).map_err(|e| wrong(format!("it has no valid key: {e}")))?;
        Ok((self.bucket(kind, bucket)?, key))
    }

    /// How many requests may be under way at the endpoint that bears the most.
    pub(super) fn request_limit(&self) -> usize {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let gates = buckets.values().map(|bucket| &bucket.gate).chain(servers.values().map(|(_, gate)| gate));
        gates.map(|gate| gate.limit()).max().unwrap_or(0)
    }

    fn bucket(&self, kind: Kind, name: &str) -> Result<Arc<Endpoint>> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = buckets.get(&(kind, name.to_owned())) {
            return Ok(Arc::clone(endpoint));
        }
        let connector = Connector::default();
        let settings = self.settings(kind)?;
        let store = match kind {
            Kind::S3 => self.s3(name, settings, &connector),
            Kind::Google => self.google(name, settings, &connector),
            Kind::Azure | Kind::Web => self.azure(name, settings, &connector),
        };
        let store = store.map_err(|e| Error::config(format!("cannot set up access to {name}: {e}")).caused_by(e))?;
        let gate = Arc::new(Gate::new(self.max_requests));
        let endpoint = Arc::new(Endpoint { store, gate, is_web: false, kind, connector });
        buckets.insert((kind, name.to_owned()), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    fn s3(
        &self,
        bucket: &str,
        settings: Settings,
        connector: &Connector,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new();
        for (key, value) in settings.known() {
            builder = builder.with_config(key, value);
        }
        let builder = builder
            .with_bucket_name(bucket)
            .with_client_options(self.client(settings.allows_http()))
            .with_retry(no_retries())
            .with_unsigned_payload(true)
            .with_http_connector(connector.clone());
        Ok(Arc::new(builder.build()?))
    }

    fn google(
        &self,
        bucket: &str,
        settings: Settings,
        connector: &Connector,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::new();
        for (key, value) in settings.known() {
            builder = builder.with_config(key, value);
        }
        let builder = builder
            .with_bucket_name(bucket)
            .with_client_options(self.client(settings.allows_http()))
            .with_retry(no_retries())
            .with_http_connector(connector.clone());
        Ok(Arc::new(builder.build()?))
    }

    fn azure(
        &self,
        container: &str,
        settings: Settings,
        connector: &Connector,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::new();
        for (key, value) in settings.known() {
            builder = builder.with_config(key, value);
        }
        let builder = builder
            .with_container_name(container)
            .with_client_options(self.client(settings.allows_http()))
            .with_retry(no_retries())
            .with_http_connector(connector.clone());
        Ok(Arc::new(builder.build()?))
    }

    /// A web address is the address of one object, as it is: its path is not encoded again, and its query is kept.
    fn web(&self, address: &Path, rest: &str, query: Option<&str>) -> Result<Endpoint> {
        let url = address.to_string_lossy();
        let origin = rest.split('/').next().unwrap_or_default();
        let origin = format!("{}{origin}", &url[..url.len() - rest.len()]);
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || (Connector::default(), Arc::new(Gate::new(self.max_requests)));
        let (connector, gate) = servers.entry(origin).or_insert_with(new).clone();
        drop(servers);
        let store = HttpBuilder::new()
            .with_url(match query {
                Some(query) => format!("{}?{query}", url.trim_end_matches('/')),
                None => url.trim_end_matches('/').to_owned(),
            })
            .with_client_options(self.client(url.starts_with("http://")))
            .with_retry(no_retries())
            .with_http_connector(connector.clone())
            .build();
        // The text of the error has the whole address.
        let wrong = |_| Error::config(format!("{} is no valid address", address.display()));
        Ok(Endpoint { store: Arc::new(store.map_err(wrong)?), gate, is_web: true, kind: Kind::Web, connector })
    }

    /// The settings of a kind of store: those of the profile, of the environment, and those that were given.
    ///
    /// # Errors
    /// If an endpoint is no address: the library would panic.
    fn settings(&self, kind: Kind) -> Result<Settings> {
        let (prefix, profile) = match kind {
            Kind::S3 => ("aws_", Profile::of_environment()),
            Kind::Google => ("google_", Profile::default()),
            Kind::Azure | Kind::Web => ("azure_", Profile::default()),
        };
        let profile = profile.options().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>();
        let environment = std::env::vars_os()
            // What was read from a file may end with a line end.
            .filter_map(|(key, value)| Some((key.to_str()?.to_ascii_lowercase(), value.to_str()?.trim().to_owned())))
            .filter(|(_, value)| !value.is_empty());
        let all = profile.into_iter().chain(environment).chain(self.options.iter().cloned());
        let settings = Settings(all.filter(|(key, _)| key.starts_with(prefix)).collect());
        if let Some((key, value)) = settings.endpoints().find(|(_, value)| !is_web_address(value)) {
            return Err(Error::config(format!(
                "{} is {value:?}, which is no address: it begins with http:// or https://, and a host",
                key.to_uppercase()
            )));
        }
        Ok(settings)
    }

    fn client(&self, allows_http: bool) -> ClientOptions {
        // A limit on a whole request would end a slow transfer; the requests have limits of their own.
        ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(self.connect_timeout)
            .with_allow_http(allows_http)
    }
}

impl Endpoint {
    /// Whether there are no credentials: none were given, and the machine has none.
    pub(super) fn lacks_credentials(&self) -> bool {
        self.connector.lacks_credentials()
    }

    /// What to do when access is denied.
    pub(super) fn advice(&self) -> &'static str {
        match self.kind {
            Kind::S3 => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or AWS_PROFILE, AWS_REGION and \
                 AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true reads a public bucket"
            }
            Kind::Google => {
                "check GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth application-default login`; \
                 GOOGLE_SKIP_SIGNATURE=true reads a public bucket"
            }
            Kind::Azure => {
                "check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; \
                 AZURE_USE_AZURE_CLI=true takes the login of `az`"
            }
            Kind::Web => "a signed address may have expired",
        }
    }
}

/// Settings of one kind of store, with the names of their variables in lower case.
struct Settings(Vec<(String, String)>);

impl Settings {
    /// The settings that a store has.
    fn known<K: FromStr>(&self) -> impl Iterator<Item = (K, &str)> {
        self.0.iter().filter_map(|(key, value)| {
            // Two names that Azure's own tools have and the library lacks.
            let key = match key.as_str() {
                "azure_storage_account" => "azure_storage_account_name",
                "azure_storage_key" => "azure_storage_account_key",
                key => key,
            };
            Some((key.parse().ok()?, value.as_str()))
        })
    }

    /// The settings that are addresses.
    fn endpoints(&self) -> impl Iterator<Item = &(String, String)> {
        let is_endpoint = |key: &str| key.contains("endpoint") && !key.contains("_use_") || key == "google_base_url";
        self.0.iter().filter(move |(key, _)| is_endpoint(key))
    }

    /// Whether TLS may be left out. An endpoint is named on purpose, and the clouds' own tools ask for no further
    /// permission.
    fn allows_http(&self) -> bool {
        self.endpoints().any(|(_, value)| value.starts_with("http://"))
    }
}

fn is_web_address(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_plain = |c: char| c.is_ascii_graphic() && !"<>\"{}|^`\\".contains(c);
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain))
}

/// Requests are repeated in one place only, which counts them and knows where they broke off.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() }
}

/// The address of a key in the store of another address.
pub(super) fn address_of(sibling: &Path, key: &Key) -> PathBuf {
    let text = sibling.to_string_lossy();
    let bucket = scheme(sibling).map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let root = text.find("://").map_or(0, |at| at + 3) + bucket.len();
    PathBuf::from(format!("{}/{key}", &text[..root]))
}
