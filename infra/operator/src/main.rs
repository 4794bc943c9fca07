//! `sparkle admin`, `sparkle costs` and `sparkle cache`, which `sparkle` hands over to this program.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use sparkle_aws::boot;
use sparkle_core::id::UserId;
use sparkle_operator::CommandLine;
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one line, outermost first; a closed stderr is nobody to tell.
            drop(writeln!(std::io::stderr(), "sparkle: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let CommandLine { command } = CommandLine::parse();
    let aws = boot::aws()?;
    let pseudonym = UserId::parse(format!("erased-{}", Uuid::new_v4().simple()))?;
    let mut out = std::io::stdout().lock();
    sparkle_operator::run(&aws, command, &pseudonym, boot::now(), &mut out).await?;
    Ok(out.flush()?)
}
