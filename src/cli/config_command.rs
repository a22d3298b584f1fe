//! `spotter config`.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::cli::print;
use crate::config::Row;

/// Prints every setting, its value and where it came from.
pub(super) fn run(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["FLAG", "VARIABLE", "VALUE", "FROM"]);
    for row in rows {
        let value = if row.value.is_empty() { "-" } else { &row.value };
        table.add_row([row.flag.as_str(), row.env.as_str(), value, row.source]);
    }
    print::line(table.trim_fmt());
}
