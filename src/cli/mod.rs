//! The commands, one a file. The only place that prints.
//!
//! Exit codes: 0 = done and nothing wrong, 1 = something is wrong (and was said), 2 = the command
//! was not understood.

mod check;
mod demo;
mod events;
mod explain;
mod logging;
mod operator;
mod poll;
mod providers;
mod reload;
mod schema;
mod send;
mod serve;
mod states;
mod style;
mod table;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A webhook gateway: verifies webhooks and passes them on, byte for byte.
#[derive(Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Find every fault of a configuration file and run the tests in it
    Check(check::Check),
    /// Make the running gateway read its file again, all or nothing
    Reload(reload::Reload),
    /// Print the JSON Schema of the configuration file, for editors
    Schema(schema::Schema),
    /// List the providers that are known, or tell everything about one
    Providers(providers::Providers),
    /// Sign a sample as a provider would, send it, show the answer
    Send(send::Send),
    /// Judge recorded requests offline, without a socket
    Verify(verify::Verify),
    /// Find events, see what became of them, deliver them once more
    Events(Box<events::Events>),
    /// Say why a signature is wrong, and what would have made it right
    Explain(explain::Explain),
    /// List backends with their state, or pause one
    Backends(states::Backends),
    /// List routes with what waits of them, or pause one
    Routes(states::Routes),
    /// List deliveries that were given up
    Dead(states::Dead),
    /// See what is polled, try a source out, repair how far it is read
    Poll(Box<poll::Poll>),
    /// See everything work on one machine, in one terminal
    Demo(demo::Demo),
}

/// What a command ends with.
type Outcome = anyhow::Result<ExitCode>;

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Providers(command) => command.run(),
        Command::Send(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Events(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Backends(command) => command.run(),
        Command::Routes(command) => command.run(),
        Command::Dead(command) => command.run(),
        Command::Poll(command) => command.run(),
        Command::Demo(command) => command.run(),
    };
    outcome.unwrap_or_else(|error| {
        style::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}
