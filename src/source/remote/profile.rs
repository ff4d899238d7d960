//! The profile files of AWS: `~/.aws/credentials` and `~/.aws/config`, of which keys, region and endpoint are read.
//! (Format: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".)

use std::collections::HashMap;
use std::path::PathBuf;

/// What `object_store` calls the settings of a profile.
const NAMES: [(&str, &str); 5] = [
    ("aws_access_key_id", "aws_access_key_id"),
    ("aws_secret_access_key", "aws_secret_access_key"),
    ("aws_session_token", "aws_session_token"),
    ("region", "aws_region"),
    ("endpoint_url", "aws_endpoint_url"),
];

/// The settings of one profile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile(HashMap<String, String>);

impl Profile {
    /// The profile that `AWS_PROFILE` names, or the default one; empty if there are no such files.
    pub(super) fn of_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let name = set("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let file = |variable: &str, name: &str| {
            let path = set(variable).map(PathBuf::from);
            let path = path.or_else(|| Some(std::env::home_dir()?.join(".aws").join(name)))?;
            std::fs::read_to_string(path).ok()
        };
        let config = file("AWS_CONFIG_FILE", "config").unwrap_or_default();
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default();
        Self::parse(&name, &config, &credentials)
    }

    fn parse(name: &str, config: &str, credentials: &str) -> Self {
        let mut found = HashMap::new();
        // In the file of settings, only the default profile has its bare name.
        let titles = [format!("profile {name}"), name.to_owned()];
        read(config, |title| titles.iter().any(|known| known == title), &mut found);
        read(credentials, |title| title == name, &mut found);
        Self(found)
    }

    /// The settings with the names that `object_store` has for them.
    pub(super) fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        NAMES.iter().filter_map(|(name, option)| Some((*option, self.0.get(*name)?.as_str())))
    }
}

/// Adds the settings in the sections with these titles.
fn read(text: &str, is_wanted: impl Fn(&str) -> bool, found: &mut HashMap<String, String>) {
    let mut is_in = false;
    for line in text.lines() {
        // An indented line belongs to a setting with several values, none of which is read.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_in = is_wanted(title.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
        } else if let (true, Some((name, value))) = (is_in, line.split_once('=')) {
            found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\n[profile  lab]\n# a comment\nregion=us-west-2\n\
                          s3 =\n  endpoint_url = no\nendpoint_url = http://127.0.0.1:9000\n\
                          [lab]\nregion = eu-north-1\n";
    const CREDENTIALS: &str = "[lab]\naws_access_key_id = A\naws_secret_access_key = b=c\n[other]\n\
                               aws_access_key_id = X\n";

    fn options(name: &str) -> Vec<(String, String)> {
        let profile = Profile::parse(name, CONFIG, CREDENTIALS);
        profile.options().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_profile_has_its_keys_region_and_endpoint() {
        let expected = [
            ("aws_access_key_id", "A"),
            ("aws_secret_access_key", "b=c"),
            ("aws_region", "eu-north-1"),
            ("aws_endpoint_url", "http://127.0.0.1:9000"),
        ];
        assert_eq!(options("lab"), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(options("default"), [("aws_region".to_owned(), "eu-west-1".to_owned())]);
        assert_eq!(options("none"), []);
    }
}
