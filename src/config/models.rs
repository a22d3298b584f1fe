//! The `[[models]]` tables of the configuration file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::backend::serving::Address;
use crate::config::Labels;
use crate::config::toml_reader::{Reader, Table};
use crate::config::values::model_name;
use crate::detect::MAX_DETECTIONS;
use crate::geometry::Size;
use crate::model::input::{Channels, Layout, Place, Resize, Samples};
use crate::model::mapping::{BoxFormat, BoxFrame, BoxOutputs, InputMapping, Kind, Mapping};
use crate::model::version::VersionChoice;

/// A model as the configuration declares it. What it leaves open, the settings of the same name say.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// The line on which its table begins; none where it was declared by flags.
    pub line: Option<usize>,
    /// What clients call it.
    pub name: String,
    /// Whether it is meant where a request names none.
    pub default: bool,
    /// Where it runs.
    pub runs: Runs,
    /// Its labels.
    pub labels: Option<Labels>,
    /// The least score that is listed where a request does not say.
    pub min_score: Option<f32>,
    /// How many detections are listed at most where a request does not say.
    pub max_detections: Option<usize>,
    /// The longest side that it is sent where its size is open.
    pub max_side: Option<u32>,
    /// How many photos it is asked about at once.
    pub max_in_flight: Option<NonZeroUsize>,
    /// How it reads.
    pub mapping: Mapping,
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Runs {
    /// In this process, from a file or as the built-in detector.
    Embedded(Option<PathBuf>),
    /// At TensorFlow Serving.
    Serving {
        /// Where that is; none for `serving` of the settings.
        addresses: Vec<Address>,
        /// What it is called there.
        remote: String,
        /// The version that is meant where a request names none.
        version: VersionChoice,
        /// The signature, where it is not the usual one.
        signature: Option<String>,
    },
}

const KEYS: [&str; 17] = [
    "name",
    "default",
    "backend",
    "model_file",
    "addresses",
    "model",
    "version",
    "version_label",
    "signature",
    "labels",
    "min_score",
    "max_detections",
    "max_side",
    "max_in_flight",
    "input",
    "mapping",
    "class_offset",
];
const OF_SERVING: [&str; 5] = ["addresses", "model", "version", "version_label", "signature"];
const INPUT_KEYS: [&str; 9] = ["key", "size", "layout", "channels", "range", "mean", "std", "resize", "padding"];
const MAPPING_KEYS: [&str; 7] = ["kind", "boxes", "scores", "classes", "count", "box_format", "box_frame"];

/// Reads all tables; what is wrong with them is told to the reader. `folder` is that of the file: paths are relative to it.
pub(super) fn read<'a>(reader: &mut Reader<'a>, root: &Table<'a>, folder: &Path) -> Vec<ModelSettings> {
    let mut models: Vec<ModelSettings> = Vec::new();
    for table in reader.tables(root, "models") {
        let Some(model) = read_model(reader, &table, folder) else { continue };
        if let Some(first) = models.iter().find(|other| other.name == model.name) {
            let line = first.line.unwrap_or_default();
            let what = format!(
                "{} is '{}', as is the model of line {line}; names must differ.",
                table.path("name"),
                model.name
            );
            reader.wrong(&table.span(), what);
        }
        if let Some(first) = models.iter().find(|other| model.default && other.default) {
            let what =
                format!("{} is true, as for the model '{}'; there is one default.", table.path("default"), first.name);
            reader.wrong(&table.span(), what);
        }
        models.push(model);
    }
    models
}

fn read_model<'a>(reader: &mut Reader<'a>, table: &Table<'a>, folder: &Path) -> Option<ModelSettings> {
    reader.only(table, &KEYS);
    reader.required(table, "name", "what clients call the model, such as name = \"detector\"");
    let name = reader.parsed(table, "name", "a text", model_name);
    let runs = runs(reader, table, name.as_deref().unwrap_or_default(), folder);
    let labels = reader.text(table, "labels").map(|text| labels_in(folder, text));
    let model = ModelSettings {
        line: Some(reader.line(&table.span())),
        default: reader.flag(table, "default").unwrap_or(false),
        runs,
        labels,
        min_score: reader.number(table, "min_score", 0.0..=1.0).map(|score| score as f32),
        max_detections: reader.whole(table, "max_detections", 1..=MAX_DETECTIONS as i64).map(|count| count as usize),
        max_side: reader.whole(table, "max_side", 32..=8192).map(|side| side as u32),
        max_in_flight: reader
            .whole(table, "max_in_flight", 1..=65_535)
            .and_then(|count| NonZeroUsize::new(count as usize)),
        mapping: Mapping {
            kind: kind(reader, table),
            class_offset: reader.whole(table, "class_offset", -1_000_000..=1_000_000),
            input: input(reader, table),
        },
        name: name?,
    };
    Some(model)
}

/// A label map named in a file that lies in this folder.
pub(super) fn labels_in(folder: &Path, text: &str) -> Labels {
    match text.parse() {
        Ok(Labels::Coco) => Labels::Coco,
        Ok(Labels::File(path)) => Labels::File(folder.join(path)),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Embedded,
    Serving,
}

fn runs<'a>(reader: &mut Reader<'a>, table: &Table<'a>, name: &str, folder: &Path) -> Runs {
    reader.required(table, "backend", "'embedded' or 'serving'");
    let backend = reader.choice(table, "backend", &[("embedded", Backend::Embedded), ("serving", Backend::Serving)]);
    let foreign: &[&str] = match backend {
        Some(Backend::Embedded) => &OF_SERVING,
        Some(Backend::Serving) => &["model_file"],
        None => &[],
    };
    for key in foreign.iter().filter(|key| table.has(key)) {
        let other = if backend == Some(Backend::Embedded) { "serving" } else { "embedded" };
        reader.wrong(&table.span(), format!("{} is for models with backend = \"{other}\".", table.path(key)));
    }
    if table.has("version") && table.has("version_label") {
        reader.wrong(&table.span(), format!("{} and version_label cannot both be given.", table.path("version")));
    }
    let parse = |text: &str| text.parse::<Address>().map_err(|error| error.to_string());
    let addresses = reader.list(table, "addresses", parse).unwrap_or_default();
    let remote = reader.parsed(table, "model", "a text", model_name);
    let number = reader.whole(table, "version", 0..=i64::MAX).map(VersionChoice::Number);
    let label = reader.text(table, "version_label").map(|label| VersionChoice::Label(label.to_owned()));
    let signature = reader.text(table, "signature").map(str::to_owned);
    let model_file = reader.text(table, "model_file").map(|file| folder.join(file));
    match backend {
        Some(Backend::Serving) => Runs::Serving {
            addresses,
            remote: remote.unwrap_or_else(|| name.to_owned()),
            version: number.or(label).unwrap_or_default(),
            signature,
        },
        Some(Backend::Embedded) | None => Runs::Embedded(model_file),
    }
}

fn kind<'a>(reader: &mut Reader<'a>, model: &Table<'a>) -> Option<Kind> {
    let table = reader.table(model, "mapping")?;
    reader.only(&table, &MAPPING_KEYS);
    reader.required(&table, "kind", "which kind of model it is; docs/MODELS.md lists them");
    let kinds = [
        ("tf-object-detection", Some(Kind::TfDetection)),
        ("model-garden", Some(Kind::ModelGarden)),
        ("ssd", Some(Kind::Ssd)),
        ("nanodet", Some(Kind::NanoDet)),
        ("yolox", Some(Kind::YoloX)),
        ("yolov8", Some(Kind::YoloV8)),
        ("yolov5", Some(Kind::YoloV5)),
        ("yolo-suppressed", Some(Kind::YoloSuppressed)),
        ("boxes", None),
    ];
    let chosen = reader.choice(&table, "kind", &kinds)?;
    let key = |reader: &mut Reader<'a>, key: &str| reader.text(&table, key).map(str::to_owned);
    let (boxes, scores) = (key(reader, "boxes"), key(reader, "scores"));
    let (classes, count) = (key(reader, "classes"), key(reader, "count"));
    let formats = [("yxyx", BoxFormat::Yxyx), ("xyxy", BoxFormat::Xyxy), ("cxcywh", BoxFormat::Cxcywh)];
    let format = reader.choice(&table, "box_format", &formats);
    let frames = [("normalized", BoxFrame::Normalized), ("pixels", BoxFrame::Pixels)];
    let frame = reader.choice(&table, "box_frame", &frames);
    if let Some(kind) = chosen {
        for key in MAPPING_KEYS.iter().filter(|key| **key != "kind" && table.has(key)) {
            let what = format!("{} is for kind = \"boxes\"; other kinds know their outputs.", table.path(key));
            reader.wrong(&table.span(), what);
        }
        return Some(kind);
    }
    for (key, what) in [
        ("boxes", "the output with the boxes, [1, N, 4]"),
        ("scores", "the output with the scores, [1, N]"),
        ("box_format", "'yxyx', 'xyxy' or 'cxcywh'"),
        ("box_frame", "'normalized' or 'pixels'"),
    ] {
        reader.required(&table, key, what);
    }
    Some(Kind::Boxes(BoxOutputs { boxes: boxes?, scores: scores?, classes, count, format: format?, frame: frame? }))
}

fn input<'a>(reader: &mut Reader<'a>, model: &Table<'a>) -> InputMapping {
    let Some(table) = reader.table(model, "input") else { return InputMapping::default() };
    reader.only(&table, &INPUT_KEYS);
    let side = |side: f64| side.fract() == 0.0 && (1.0..=8192.0).contains(&side);
    let size = reader.numbers(&table, "size", "[width, height], each a whole number from 1 to 8192", side);
    let top_left = Resize::LETTERBOX;
    let resizes =
        [("letterbox", top_left), ("letterbox-center", Resize::Letterbox(Place::Center)), ("stretch", Resize::Stretch)];
    InputMapping {
        key: reader.text(&table, "key").map(str::to_owned),
        size: size.map(|[width, height]| Size::new(width as u32, height as u32)),
        layout: reader.choice(&table, "layout", &[("NHWC", Layout::Nhwc), ("NCHW", Layout::Nchw)]),
        channels: reader.choice(&table, "channels", &[("RGB", Channels::Rgb), ("BGR", Channels::Bgr)]),
        samples: samples(reader, &table),
        resize: reader.choice(&table, "resize", &resizes),
        pad: padding(reader, &table),
    }
}

/// `range = [-1, 1]` says where black and white lie; `mean` and `std` say it for each channel.
fn samples<'a>(reader: &mut Reader<'a>, table: &Table<'a>) -> Option<Samples> {
    let range =
        reader.numbers(table, "range", "[black, white], such as [0, 1]; white must be more than black", |_| true);
    let mean = reader.numbers(table, "mean", "three numbers, in the model's order of channels, 0 to 255", |_| true);
    let std =
        reader.numbers(table, "std", "three numbers more than 0, in the model's order of channels", |std| std > 0.0);
    if table.has("range") && (table.has("mean") || table.has("std")) {
        reader.wrong(&table.span(), format!("{} cannot be given with mean and std.", table.path("range")));
    }
    if table.has("mean") != table.has("std") {
        reader.wrong(&table.span(), format!("{} and std go together.", table.path("mean")));
    }
    if let Some([black, white]) = range {
        if white <= black {
            let what = format!("{} is [{black}, {white}]; white must be more than black.", table.path("range"));
            reader.wrong(&table.span(), what);
            return None;
        }
        // x / 255 * (white - black) + black, as (x - mean) / std.
        let std = 255.0 / (white - black);
        return Some(Samples::F32 { mean: [(-black * std) as f32; 3], std: [std as f32; 3] });
    }
    let (mean, std): ([f64; 3], [f64; 3]) = (mean?, std?);
    Some(Samples::F32 { mean: mean.map(|mean| mean as f32), std: std.map(|std| std as f32) })
}

fn padding<'a>(reader: &mut Reader<'a>, table: &Table<'a>) -> Option<[u8; 3]> {
    if table.is_whole("padding") {
        return reader.whole(table, "padding", 0..=255).map(|grey| [grey as u8; 3]);
    }
    let byte = |sample: f64| sample.fract() == 0.0 && (0.0..=255.0).contains(&sample);
    let color =
        reader.numbers(table, "padding", "a whole number from 0 to 255, or three for red, green and blue", byte);
    color.map(|color: [f64; 3]| color.map(|sample| sample as u8))
}
