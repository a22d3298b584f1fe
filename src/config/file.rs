//! The configuration file.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::mistake::{Mistake, Mistakes};
use crate::config::models::{self, ModelSettings, labels_in};
use crate::config::sources::check;
use crate::config::toml_reader::{self, Reader, Table, did_you_mean};
use crate::config::{CONFIG, Labels};
use crate::reload::Stamp;

/// A configuration of a few hundred models is smaller; a file beyond this is a wrong path.
const MAX_BYTES: u64 = 1 << 20;

/// What a configuration file says.
#[derive(Debug, Default)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// As it was before it was read.
    pub(super) stamp: Option<Stamp>,
    /// Settings by name.
    pub(super) values: BTreeMap<String, Given>,
    /// The models, in its order.
    pub models: Vec<ModelSettings>,
}

/// A setting as a file gives it.
#[derive(Debug)]
pub(super) struct Given {
    /// As a flag would have it.
    pub values: Vec<String>,
    pub line: usize,
}

impl File {
    /// Reads a file; `settings` is a command with an argument for each setting.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn read(path: &Path, settings: &Command) -> Result<Self, Mistakes> {
        let unreadable = |why: String| {
            let what = format!("--config {} cannot be read: {why}.", path.display());
            Mistakes(vec![Mistake { place: None, what }])
        };
        let stamp = Stamp::of(path);
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if metadata.len() > MAX_BYTES {
            return Err(unreadable(format!("it has {} bytes; a configuration has up to {MAX_BYTES}", metadata.len())));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { stamp: Some(stamp), ..Self::parse(path, &text, settings)? })
    }

    /// The same of a text that was read already.
    pub(super) fn parse(path: &Path, text: &str, settings: &Command) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(path, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            reader.wrong(&error.span().unwrap_or_default(), format!("this is no TOML: {}.", error.message()));
        }
        let root = Table::root(&document);
        let folder = path.parent().unwrap_or(Path::new(""));
        let values = values(&mut reader, &root, settings, folder);
        let models = models::read(&mut reader, &root, folder);
        let mistakes = reader.into_mistakes();
        if mistakes.is_empty() {
            Ok(Self { path: path.to_owned(), stamp: None, values, models })
        } else {
            Err(Mistakes(mistakes))
        }
    }
}

/// Every key at the top is a setting, but for `models`.
fn values<'a>(reader: &mut Reader<'a>, root: &Table<'a>, settings: &Command, folder: &Path) -> BTreeMap<String, Given> {
    let arguments: Vec<&Arg> = settings.get_arguments().filter(|arg| arg.get_id() != CONFIG).collect();
    let mut values = BTreeMap::new();
    for (key, span, value) in root.entries().filter(|(key, ..)| *key != "models") {
        let Some(argument) = arguments.iter().find(|argument| argument.get_id() == key) else {
            let known: Vec<_> = arguments.iter().map(|argument| argument.get_id().as_str()).chain(["models"]).collect();
            reader.wrong(&span, format!("{key} is no setting. {}", did_you_mean(key, &known)));
            continue;
        };
        match as_flag(argument, value, folder).and_then(|values| check(argument, &values).map(|()| values)) {
            Ok(given) => {
                values.insert(key.to_owned(), Given { values: given, line: reader.line(&span) });
            }
            Err(why) => reader.wrong(&span, format!("{key}: {why}")),
        }
    }
    values
}

/// The value as a flag would have it, where it is of the argument's type.
fn as_flag(argument: &Arg, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Vec<String>, String> {
    let value = value.get_ref();
    let wrong = |expected: &str| Err(format!("found {}; it must be {expected}.", toml_reader::shown(value)));
    if matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
        return value.as_bool().map_or_else(|| wrong("true or false"), |flag| Ok(vec![flag.to_string()]));
    }
    match value {
        DeValue::Array(items) if is_list(argument) => {
            let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            items.iter().map(text).collect::<Option<_>>().map_or_else(|| wrong("a text or a list of texts"), Ok)
        }
        _ => match Type::of(argument.get_value_parser()) {
            Type::Whole => match toml_reader::whole(value) {
                Some(number) => Ok(vec![number.to_string()]),
                None => wrong("a whole number"),
            },
            Type::Number => match value {
                DeValue::Integer(_) | DeValue::Float(_) => Ok(vec![toml_reader::shown(value)]),
                _ => wrong("a number"),
            },
            Type::Flag => value.as_bool().map_or_else(|| wrong("true or false"), |flag| Ok(vec![flag.to_string()])),
            Type::Path => match value.as_str() {
                Some(path) => Ok(vec![folder.join(path).to_string_lossy().into_owned()]),
                None => wrong("a path, relative to this file"),
            },
            Type::Labels => match value.as_str().map(|text| labels_in(folder, text)) {
                Some(Labels::Coco) => Ok(vec!["coco".to_owned()]),
                Some(Labels::File(path)) => Ok(vec![path.to_string_lossy().into_owned()]),
                None => wrong("'coco' or a path, relative to this file"),
            },
            // Values with a form of their own may be written as numbers, such as rates.
            Type::Text => match value {
                DeValue::Integer(_) | DeValue::Float(_) => Ok(vec![toml_reader::shown(value)]),
                _ => value.as_str().map_or_else(|| wrong("a text"), |text| Ok(vec![text.to_owned()])),
            },
        },
    }
}

/// Whether an argument takes several values.
fn is_list(argument: &Arg) -> bool {
    argument.get_value_delimiter().is_some() || matches!(argument.get_action(), ArgAction::Append)
}

/// What a value has to be in TOML.
enum Type {
    Whole,
    Number,
    Flag,
    Path,
    Labels,
    Text,
}

impl Type {
    fn of(parser: &ValueParser) -> Self {
        let is = |types: &[TypeId]| types.iter().any(|id| parser.type_id() == *id);
        if is(&[TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()]) {
            Self::Whole
        } else if is(&[TypeId::of::<f32>(), TypeId::of::<f64>()]) {
            Self::Number
        } else if is(&[TypeId::of::<bool>()]) {
            Self::Flag
        } else if is(&[TypeId::of::<PathBuf>()]) {
            Self::Path
        } else if is(&[TypeId::of::<Labels>()]) {
            Self::Labels
        } else {
            Self::Text
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::config::Settings;
    use crate::model::input::Samples;

    fn parse(text: &str) -> Result<File, Mistakes> {
        let settings = Settings::augment_args(Command::new("settings"));
        File::parse(Path::new("conf/spotter.toml"), text, &settings)
    }

    fn mistakes(text: &str) -> Vec<String> {
        parse(text).expect_err("refused").0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "max_side = 5\nmin_scor = 0.5\nworkers = \"two\"\n\n[[models]]\nname = \"a b\"\nbackend = \"serving\"\n\
                    model_file = \"x.onnx\"\nmin_score = 2\n[models.input]\nlayout = \"nhwc\"\n";
        let found = mistakes(text);
        let expected = [
            (1, "max_side", "32"),
            (2, "min_scor is no setting", "Did you mean min_score?"),
            (3, "workers", "a whole number"),
            (5, "model_file is for models with", "embedded"),
            (6, "models[0].name", "letters"),
            (9, "models[0].min_score is 2", "from 0 to 1"),
            (11, "models[0].input.layout is 'nhwc'", "'NHWC' or 'NCHW'"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (line, what, bound)) in found.iter().zip(expected) {
            assert!(found.starts_with(&format!("conf/spotter.toml:{line}: ")), "{found}");
            assert!(found.contains(what) && found.contains(bound), "{found}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line_beside_everything_else() {
        let found = mistakes("max_side = \nmin_score = 7\n");
        assert!(found[0].starts_with("conf/spotter.toml:1: this is no TOML"), "{found:?}");
        assert!(found.iter().any(|what| what.starts_with("conf/spotter.toml:2: min_score")), "{found:?}");
    }

    #[test]
    fn names_and_defaults_are_given_once() {
        let model = "[[models]]\nname = \"a\"\ndefault = true\nbackend = \"embedded\"\n";
        let found = mistakes(&format!("{model}{model}"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(":5: ") && found[0].contains("as is the model of line 1"), "{found:?}");
        assert!(found[1].contains("there is one default"), "{found:?}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let file = parse("labels = \"map.pbtxt\"\nmodel_file = \"/m/x.onnx\"\n").expect("fine");
        assert_eq!(file.values["labels"].values, ["conf/map.pbtxt"]);
        assert_eq!(file.values["model_file"].values, ["/m/x.onnx"]);
        assert_eq!(parse("labels = \"coco\"").expect("fine").values["labels"].values, ["coco"]);
    }

    #[test]
    fn a_range_is_the_mean_and_std_that_give_it() {
        let input = |text: &str| {
            let model = "[[models]]\nname = \"a\"\nbackend = \"embedded\"\n[models.input]\n";
            parse(&format!("{model}{text}")).map(|file| file.models[0].mapping.input.clone())
        };
        let samples = |text| input(text).expect("fine").samples;
        assert_eq!(samples("range = [0, 255]"), Some(Samples::PLAIN_F32));
        assert_eq!(samples("range = [-1, 1]"), Some(Samples::F32 { mean: [127.5; 3], std: [127.5; 3] }));
        assert_eq!(
            samples("mean = [1, 2, 3]\nstd = [4, 5, 6.5]"),
            Some(Samples::F32 { mean: [1.0, 2.0, 3.0], std: [4.0, 5.0, 6.5] })
        );
        assert_eq!(input("padding = 114").expect("fine").pad, Some([114; 3]));
        assert_eq!(input("padding = [1, 2, 3]").expect("fine").pad, Some([1, 2, 3]));
        for wrong in [
            "range = [1, 0]",
            "range = [0]",
            "range = [0, 1]\nmean = [1, 2, 3]\nstd = [1, 2, 3]",
            "mean = [1, 2, 3]",
            "mean = [1, 2, 3]\nstd = [0, 1, 1]",
            "padding = 256",
            "padding = [1, 2]",
            "size = [0, 5]",
            "size = [9000, 5]",
        ] {
            assert!(input(wrong).is_err(), "{wrong}");
        }
    }
}
