//! `spotter config`.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::cli::print;
use crate::config::{Row, Runs, Settings};

/// Prints every setting, its value and where it came from; then the models.
pub(super) fn run(rows: &[Row], settings: &Settings) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["FLAG", "VARIABLE", "VALUE", "FROM"]);
    for row in rows {
        let value = if row.value.is_empty() { "-" } else { &row.value };
        table.add_row([row.flag.as_str(), row.env.as_str(), value, &row.source.to_string()]);
    }
    print::line(table.trim_fmt());

    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["MODEL", "RUN BY", "FROM"]);
    for (place, model) in settings.models().iter().enumerate() {
        let runs = match &model.runs {
            Runs::Embedded(None) => "the built-in detector".to_owned(),
            Runs::Embedded(Some(path)) => format!("the embedded engine, {}", path.display()),
            Runs::Serving { addresses, remote, version, .. } => {
                let addresses: Vec<_> = settings.serving(addresses).addresses.iter().map(ToString::to_string).collect();
                format!("TensorFlow Serving at {}, '{remote}', {version}", addresses.join(", "))
            }
        };
        let from = match (model.line, &settings.config) {
            (Some(line), Some(path)) => format!("{}:{line}", path.display()),
            _ => "settings".to_owned(),
        };
        let name = if place == 0 { format!("{} (default)", model.name) } else { model.name.clone() };
        table.add_row([name, runs, from]);
    }
    print::line(format_args!("\n{}", table.trim_fmt()));
}
