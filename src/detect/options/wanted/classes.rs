//! The options that name classes: which are wanted, and from which score.

use serde_json::Value;

use super::Reader;
use crate::detect::options::param::{Param, Raw};
use crate::detect::options::{MAX_SELECTORS, Options};
use crate::model::labels::{ClassId, LabelMap};

impl Reader<'_> {
    /// Labels and ids, repeated or separated by commas.
    pub(super) fn classes(&mut self, name: &str, labels: &LabelMap) -> Option<Vec<ClassId>> {
        let mut selectors: Vec<Param> = Vec::new();
        for param in self.given(name) {
            match param.value() {
                // A label may itself contain a comma.
                Raw::Text(text) | Raw::Json(Value::String(text)) if labels.ids(text.trim()).next().is_none() => {
                    selectors.extend(text.split(',').map(|part| Param::text(name, part)));
                }
                Raw::Json(Value::Array(items)) => {
                    selectors.extend(items.iter().map(|item| Param::json(name, item.clone())));
                }
                Raw::Text(_) | Raw::Json(_) => selectors.push(param.clone()),
            }
        }
        selectors.retain(|selector| !selector.is_absent());
        if selectors.len() > MAX_SELECTORS {
            self.wrong(name, format!("{name} names {} classes; it takes up to {MAX_SELECTORS}.", selectors.len()));
            return None;
        }
        let mut ids = Vec::new();
        for selector in &selectors {
            match selector.string() {
                Some(text) => self.class(name, text, labels, &mut ids),
                None => self.class_id(name, selector, &mut ids),
            }
        }
        (!selectors.is_empty()).then_some(ids)
    }

    fn class(&mut self, name: &str, text: &str, labels: &LabelMap, ids: &mut Vec<ClassId>) {
        if self.is_full() {
            return;
        }
        let text = text.trim();
        let before = ids.len();
        ids.extend(labels.ids(text));
        if ids.len() > before {
            return;
        }
        match text.parse::<ClassId>() {
            Ok(id) if id >= 0 => ids.push(id),
            _ => {
                let shown: String = text.chars().take(60).collect();
                let hint = match labels.closest(&shown) {
                    Some(near) => format!("Did you mean '{near}'?"),
                    None if labels.is_empty() => "The model has no label map; use class ids.".to_owned(),
                    None => "GET /v1/models/{model}/labels lists the labels.".to_owned(),
                };
                self.wrong(name, format!("{name} names '{shown}', which is no label of the model. {hint}"));
            }
        }
    }

    fn class_id(&mut self, name: &str, param: &Param, ids: &mut Vec<ClassId>) {
        match param.integer() {
            Some(id) if id >= 0 => ids.push(id),
            _ => self.wrong(name, format!("{name} holds {}; it takes labels and class ids.", param.shown())),
        }
    }

    pub(super) fn refuse_overlap(&mut self, options: &Options, labels: &LabelMap) {
        let both = options.only.iter().flatten().find(|&id| options.except.contains(id));
        if let Some(&id) = both {
            let label = labels.name(id);
            self.wrong("exclude_classes", format!("'{label}' is both in classes and in exclude_classes."));
        }
    }

    /// `person:0.6,dog:0.3`, or an object in JSON.
    pub(super) fn scores(&mut self, name: &str, labels: &LabelMap) -> Vec<(ClassId, f32)> {
        let mut pairs: Vec<(String, Param)> = Vec::new();
        for param in self.given(name) {
            match param.value() {
                Raw::Text(text) | Raw::Json(Value::String(text)) => {
                    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                        // The last colon: a label may contain one.
                        if let Some((class, score)) = part.rsplit_once(':') {
                            pairs.push((class.to_owned(), Param::text(name, score)));
                        } else {
                            let shown = Param::text(name, part.trim()).shown();
                            self.wrong(
                                name,
                                format!("{name} holds {shown}; it takes pairs such as person:0.6,dog:0.3."),
                            );
                        }
                    }
                }
                Raw::Json(Value::Object(map)) => {
                    pairs.extend(map.iter().map(|(class, score)| (class.clone(), Param::json(name, score.clone()))));
                }
                Raw::Json(_) => {
                    let shown = param.shown();
                    self.wrong(name, format!("{name} is {shown}; it takes an object such as {{\"person\": 0.6}}."));
                }
            }
        }
        if pairs.len() > MAX_SELECTORS {
            self.wrong(name, format!("{name} names {} classes; it takes up to {MAX_SELECTORS}.", pairs.len()));
            return Vec::new();
        }
        let mut scores: Vec<(ClassId, f32)> = Vec::new();
        for (class, score) in pairs {
            let mut ids = Vec::new();
            self.class(name, &class, labels, &mut ids);
            let Some(score) = self.score_of(name, &score) else { continue };
            for id in ids {
                if scores.iter().any(|&(known, _)| known == id) {
                    self.wrong(name, format!("{name} names '{}' more than once.", labels.name(id)));
                }
                scores.push((id, score));
            }
        }
        scores
    }
}
