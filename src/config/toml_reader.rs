//! Reading a TOML document value by value, with the line of everything that is wrong in it.
//!
//! Not by deserialising: that ends at the first mistake, and an operator wants to see all of them.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::mistake::Mistake;

/// Gathers what is wrong with one file.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

/// A table and how it is called: `models[2].input`.
#[derive(Clone)]
pub(super) struct Table<'a> {
    name: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn root(document: &'a Spanned<DeTable<'a>>) -> Self {
        Self { name: String::new(), entries: document.get_ref(), span: document.span() }
    }

    /// The keys and their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Range<usize>, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.entries.iter().map(|(key, value)| (&**key.get_ref(), key.span(), value))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn is_whole(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_integer())
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(key)
    }

    /// What a key of this table is called.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// A value as people would write it, short enough for a message.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("'{text}'"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A whole number, where it is one of 64 bits.
pub(super) fn whole(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Any number.
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(number) => number.as_str().parse().ok(),
        None => whole(value).map(|number| number as f64),
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, mistakes: Vec::new() }
    }

    /// Everything that was wrong, in the order of the lines.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.place.as_ref().map(|(_, line)| *line));
        self.mistakes
    }

    /// The line, from 1, on which a span begins.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn wrong(&mut self, span: &Range<usize>, what: String) {
        let line = self.line(span);
        self.mistakes.push(Mistake::in_file(self.path, line, what));
    }

    fn expected(&mut self, table: &Table<'_>, key: &str, value: &Spanned<DeValue<'_>>, expected: impl Display) {
        let what = format!("{} is {}; it must be {expected}.", table.path(key), shown(value.get_ref()));
        self.wrong(&value.span(), what);
    }

    /// Refuses every key but these.
    pub(super) fn only(&mut self, table: &Table<'_>, known: &[&str]) {
        for (key, span, _) in table.entries() {
            if !known.contains(&key) {
                let what = format!("{} is no setting. {}", table.path(key), did_you_mean(key, known));
                self.wrong(&span, what);
            }
        }
    }

    /// A value that every table of its kind must have.
    pub(super) fn required(&mut self, table: &Table<'_>, key: &str, what: &str) {
        if !table.has(key) {
            self.wrong(&table.span(), format!("{} is missing: {what}.", table.path(key)));
        }
    }

    pub(super) fn text(&mut self, table: &Table<'a>, key: &str) -> Option<&'a str> {
        self.parsed(table, key, "a text", Ok)
    }

    /// A text that has to read as something.
    pub(super) fn parsed<T>(
        &mut self,
        table: &Table<'a>,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.expected(table, key, value, expected);
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.wrong(&value.span(), format!("{} is '{text}': {why}.", table.path(key)));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&mut self, table: &Table<'a>, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = table.get(key)?;
        let found = value.get_ref().as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.expected(table, key, value, one_of(&names));
        }
        found.map(|(_, choice)| choice.clone())
    }

    pub(super) fn flag(&mut self, table: &Table<'a>, key: &str) -> Option<bool> {
        let value = table.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.expected(table, key, value, "true or false");
        }
        flag
    }

    pub(super) fn whole(&mut self, table: &Table<'a>, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = table.get(key)?;
        let found = whole(value.get_ref()).filter(|number| range.contains(number));
        if found.is_none() {
            let bound = if *range.end() == i64::MAX {
                format!("a whole number from {}", range.start())
            } else {
                format!("a whole number from {} to {}", range.start(), range.end())
            };
            self.expected(table, key, value, bound);
        }
        found
    }

    pub(super) fn number(&mut self, table: &Table<'a>, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = table.get(key)?;
        let found = number(value.get_ref()).filter(|number| range.contains(number));
        if found.is_none() {
            self.expected(table, key, value, format!("a number from {} to {}", range.start(), range.end()));
        }
        found
    }

    /// A list of exactly so many numbers, each finite and accepted.
    pub(super) fn numbers<const N: usize>(
        &mut self,
        table: &Table<'a>,
        key: &str,
        expected: &str,
        accept: impl Fn(f64) -> bool,
    ) -> Option<[f64; N]> {
        let value = table.get(key)?;
        let list = value.get_ref().as_array().map(|list| list.iter().map(|item| number(item.get_ref())));
        let numbers: Option<Vec<f64>> = list.and_then(Iterator::collect);
        let numbers = numbers.filter(|numbers| numbers.iter().all(|&number| number.is_finite() && accept(number)));
        let found = numbers.and_then(|numbers| <[f64; N]>::try_from(numbers).ok());
        if found.is_none() {
            self.expected(table, key, value, expected);
        }
        found
    }

    /// One text or a list of texts, each of which has to read as something.
    pub(super) fn list<T>(
        &mut self,
        table: &Table<'a>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = table.get(key)?;
        let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let mut read = Vec::new();
        for item in items {
            match item.get_ref().as_str().map(&parse) {
                Some(Ok(parsed)) => read.push(parsed),
                Some(Err(why)) => self.wrong(&item.span(), format!("{}: {why}.", table.path(key))),
                None => self.expected(table, key, item, "a text or a list of texts"),
            }
        }
        Some(read)
    }

    pub(super) fn table(&mut self, table: &Table<'a>, key: &str) -> Option<Table<'a>> {
        let value = table.get(key)?;
        let Some(entries) = value.get_ref().as_table() else {
            self.expected(table, key, value, format!("a table, [{}]", table.path(key)));
            return None;
        };
        Some(Table { name: table.path(key), entries, span: value.span() })
    }

    /// The tables of a list of tables, called `models[0]` and so on.
    pub(super) fn tables(&mut self, table: &Table<'a>, key: &str) -> Vec<Table<'a>> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.expected(table, key, value, format!("a list of tables, [[{}]]", table.path(key)));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match item.get_ref().as_table() {
                Some(entries) => {
                    tables.push(Table { name: format!("{}[{place}]", table.path(key)), entries, span: item.span() });
                }
                None => self.expected(table, key, item, format!("a list of tables, [[{}]]", table.path(key))),
            }
        }
        tables
    }
}

/// `'a', 'b' or 'c'`
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The known name that is most like this one, or all of them where none is.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::osa_distance(known, name), known));
    match near.min_by_key(|(typos, _)| *typos) {
        Some((typos, near)) if typos <= 1 + near.len() / 4 => format!("Did you mean {near}?"),
        _ => format!("There are: {}.", known.join(", ")),
    }
}
