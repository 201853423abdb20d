//! Testing a component: the kit's report on the terminal.

use super::Asking;
use crate::{
    cli::TestComponent,
    conformance::{self, Report, Wanted},
    problem::Problem,
    render::count,
};

impl Asking<'_> {
    /// Tests a component; the command fails if anything of it does.
    pub(super) async fn test(&self, test: TestComponent) -> Result<(), Problem> {
        let settings = match &test.settings {
            None => serde_json::Map::new(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Problem::usage(format!("--settings is not a JSON object: {error}"))
            })?,
        };
        let live = test.live.then_some(Wanted { harness: test.harness.as_deref(), settings });
        let folder = test.transcripts.as_deref();
        let testing = conformance::test(self.root, &test.component, folder, live);
        let report = self.patiently("testing the component", testing).await?;
        conformance::keep(self.root, &report)?;
        self.show(&report, Report::text)?;
        match report.failed {
            0 => Ok(()),
            failed => {
                let checks = count(report.checks.len(), "check");
                Err(Problem::failed(format!("{failed} of {checks} failed")))
            }
        }
    }
}
