//! A child process that runs other libraries' operations. It receives the cases, then one request at a time, and
//! answers each; `masks.py` describes the lines. If a peer fails, the error is printed and the peer is left out.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::cases::Image;

/// A started process.
pub(super) struct Child {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A library in a process.
#[derive(Deserialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) version: String,
    methods: Vec<String>,
}

impl Peer {
    pub(super) fn can(&self, operation: &str) -> bool {
        self.methods.contains(&operation.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
    }
}

impl Child {
    /// Starts `command` and hands it the cases. Also returns the peers that it has.
    pub(super) fn start(mut command: Command, images: &[Image]) -> Result<(Self, Vec<Peer>), String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("RAYON_NUM_THREADS", "1")
            .spawn()
            .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("no pipe to the process".to_owned());
        };
        let mut child = Self { input, output: BufReader::new(output) };
        let mut hello = child.ask(&json!(images))?;
        let peers = serde_json::from_value(hello["peers"].take()).map_err(|e| e.to_string())?;
        Ok((child, peers))
    }

    /// The digest of the results of an operation of `peer`.
    pub(super) fn check(&mut self, peer: &str, operation: &str, step: usize, exact: bool) -> Result<f64, String> {
        let request = json!({"check": true, "peer": peer, "operation": operation, "step": step, "exact": exact});
        self.ask(&request)?["digest"].as_f64().ok_or_else(|| "no digest".to_owned())
    }

    /// CPU time of one pass over all inputs in nanoseconds.
    pub(super) fn time(&mut self, peer: &str, operation: &str, step: usize) -> Result<f64, String> {
        let answer = self.ask(&json!({"check": false, "peer": peer, "operation": operation, "step": step}))?;
        let (Some(ns), Some(passes)) = (answer["ns"].as_f64(), answer["passes"].as_f64()) else {
            return Err("no time".to_owned());
        };
        Ok(ns / passes)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let mut line = String::new();
        writeln!(self.input, "{request}").and_then(|()| self.input.flush()).map_err(|e| e.to_string())?;
        self.output.read_line(&mut line).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|_| "the process gave no answer".to_owned())?;
        answer["error"].as_str().map_or(Ok(answer.clone()), |error| Err(error.to_owned()))
    }
}
