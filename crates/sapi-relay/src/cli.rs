//! Owns the command line: what can be asked for, and how help explains it. It does nothing itself.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_core::From;

const START: &str = "\
Begin here:
  sapi-relay demo                            everything on this machine, nothing to install
  sapi-relay check --config relay.toml       is my configuration right?
  sapi-relay run --config relay.toml         the daemon
  sapi-relay tail                            watch the events of a running relay

config/relay.toml lists every key with its default.
Exit codes: 0 done, 64 wrong usage, 75 the journal is in use, 78 wrong configuration, 70 anything else;
health has 1 for a relay that is not alive.";

const ENVIRONMENT: &str = "\
Later files override earlier ones, and environment variables override files: a key a.b.c is set by
SAPI_RELAY_A__B__C, such as SAPI_RELAY_UPSTREAM__TOKEN or SAPI_RELAY_SINKS__DOWNSTREAM__LISTEN.
Any secret x can be x_file instead: the path of a file that holds it.";

/// One subscription to 8x8's Contact Center Streaming API, served to every consumer you have.
#[derive(Debug, Parser)]
#[command(name = "sapi-relay", version, after_help = START, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the relay until SIGTERM or SIGINT (which drain) or a second one (which does not)
    ///
    /// SIGHUP reads the configuration again: sinks and secrets change without touching the
    /// upstream connections or unchanged sinks.
    #[command(after_help = ENVIRONMENT)]
    Run(ConfigFiles),
    /// Say everything that is wrong with a configuration
    #[command(after_help = ENVIRONMENT)]
    Check(Check),
    /// Show the whole thing on this machine: simulator, relay, WebSocket and SSE
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Watch events as they come
    Tail(Tail),
    /// Look into a journal on disk, also beside a running relay; nothing is changed
    Journal {
        #[command(subcommand)]
        command: Journal,
    },
    /// List the sinks of a running relay, or steer one
    Sink {
        #[command(subcommand)]
        command: Sink,
    },
    /// What could not be parsed, and what destinations refused for good
    DeadLetters {
        #[command(subcommand)]
        command: DeadLetters,
    },
    /// Ask a running relay whether it is alive: exit code 0, or 1
    ///
    /// For health checks of containers that hold no other program. It asks /livez, which needs no
    /// token: runtime and intake make progress. Nothing is said of 8x8 and of sinks.
    Health(Health),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigFiles {
    /// A configuration file; may be given several times
    #[arg(long = "config", short, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) config: ConfigFiles,
    /// Also try DNS, TCP and TLS to the upstream, without subscribing, and every sink, without
    /// delivering or creating anything
    #[arg(long)]
    pub(crate) connect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Events a second that the simulated contact centre emits
    #[arg(long, default_value_t = 20.0, value_name = "N")]
    pub(crate) rate: f64,
    /// How long an upstream session lasts before the simulator cuts it; 8x8 does after 60 minutes
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) session_length: std::time::Duration,
    /// End after so long, instead of at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) length: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sapi-relay tail --types 'AgentStatusChange,Interaction/*'
  sapi-relay tail --from earliest --format cloudevents | jq .type
  sapi-relay tail --direct --config relay.toml --subs-id try_out")]
pub(crate) struct Tail {
    /// The websocket sink of a running relay
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) url: String,
    /// A file with the client's token, where the relay wants one
    #[arg(long, value_name = "FILE", conflicts_with = "direct")]
    pub(crate) token_file: Option<PathBuf>,
    /// Only these types: globs, separated by commas; ! excludes
    #[arg(long, value_delimiter = ',', value_name = "GLOBS")]
    pub(crate) types: Vec<String>,
    /// now, earliest, a cursor, or a time such as 2026-01-31T12:00:00Z
    #[arg(
        long,
        default_value = "now",
        value_name = "FROM",
        conflicts_with = "direct"
    )]
    pub(crate) from: From,
    /// How an event is printed [default: pretty on a terminal, raw in a pipe]
    #[arg(long, value_enum)]
    pub(crate) format: Option<TailFormat>,
    /// Subscribe to 8x8 itself, without a relay: takes one of the three connections there are
    #[arg(long, requires = "files", requires = "subs_id", conflicts_with = "url")]
    pub(crate) direct: bool,
    /// For --direct: the configuration that names upstream and token
    #[arg(long = "config", short, value_name = "FILE", num_args = 1.., requires = "direct")]
    pub(crate) files: Vec<PathBuf>,
    /// For --direct: the subscription id to use, none of the relay's own
    #[arg(long, value_name = "ID", requires = "direct")]
    pub(crate) subs_id: Option<String>,
    /// For --direct: do it even if it disturbs the relay
    #[arg(long, requires = "direct")]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TailFormat {
    /// The vendor's bytes, one document a line
    Raw,
    /// One line for people: time, type, key, and what matters of it
    Pretty,
    /// CloudEvents JSON, one a line
    Cloudevents,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// How much it holds, from when to when
    Info(JournalDir),
    /// Read every byte and name what is damaged
    Verify(JournalDir),
    /// Write events as NDJSON of CloudEvents to standard output
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct JournalDir {
    /// The journal's folder (journal.dir)
    #[arg(long, default_value = "/var/lib/sapi-relay", value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) journal: JournalDir,
    /// earliest, a cursor (events after it), or a time such as 2026-01-31T12:00:00Z
    #[arg(long, default_value = "earliest", value_name = "FROM")]
    pub(crate) from: From,
    /// The last event: a cursor (inclusive), or a time (exclusive) [default: the end]
    #[arg(long, value_name = "UNTIL")]
    pub(crate) until: Option<From>,
    /// Only these types: globs, separated by commas; ! excludes
    #[arg(long, value_delimiter = ',', value_name = "GLOBS")]
    pub(crate) types: Vec<String>,
    /// The relay's notices as well
    #[arg(long)]
    pub(crate) notices: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// The admin server of a running relay
    #[arg(
        long = "admin",
        default_value = "http://127.0.0.1:9464",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// A file with the admin token, where the relay wants one
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The admin server of a running relay
    #[arg(
        long = "admin",
        default_value = "http://127.0.0.1:9464",
        value_name = "URL"
    )]
    pub(crate) url: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sink {
    /// Every sink with its state, cursor and lag
    List {
        #[command(flatten)]
        admin: Admin,
    },
    /// Stop delivering to a sink; its cursor stays
    Pause(OneSink),
    /// Deliver again
    Resume(OneSink),
    /// Move a sink's cursor: deliver again, or skip
    Seek {
        #[command(flatten)]
        sink: OneSink,
        /// earliest, latest, a cursor, or a time such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TO")]
        to: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OneSink {
    /// The sink's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// What is kept, oldest first
    List {
        #[command(flatten)]
        admin: Admin,
        /// Only what this sink was refused; `upstream` for what could not be parsed
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Deliver again what a sink was refused, out of order; what it takes is a dead letter no more
    Retry {
        #[command(flatten)]
        admin: Admin,
        /// Only what this sink was refused [default: every sink's]
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Only this one
        #[arg(long, value_name = "ID")]
        id: Option<u64>,
    },
    /// Write all of them as NDJSON to standard output
    Export {
        #[command(flatten)]
        admin: Admin,
        /// Only what this sink was refused; `upstream` for what could not be parsed
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
