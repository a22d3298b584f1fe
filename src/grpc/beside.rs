//! How much of a message is no photo, told while it arrives: what is decoded of it takes memory by the field, not by the byte,
//! and is decoded whole before anybody of ours sees it.
//!
//! So the encoding is followed here, as far as that takes: a key, then a number, some bytes, or a length and so many bytes
//! (<https://protobuf.dev/programming-guides/encoding/>). Of a photo only the content is one; its key and length are beside it,
//! so that empty photos without number are too much as well.

/// Where in a message its photos are, by the numbers in detection.proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Photos {
    /// There are none.
    None,
    /// In this field.
    Field(u64),
    /// In this field of the message in that one.
    Within { message: u64, field: u64 },
}

impl Photos {
    /// `DetectRequest.image`.
    pub(super) const OF_DETECT: Self = Self::Field(1);
    /// `DetectBatchRequest.images`.
    pub(super) const OF_BATCH: Self = Self::Field(1);
    /// `StreamDetectRequest.frame`, and in it `Frame.image`.
    pub(super) const OF_STREAM: Self = Self::Within { message: 2, field: 2 };
}

/// What is counted of one message.
#[derive(Debug)]
pub(super) struct Beside {
    photos: Photos,
    at: At,
    /// The number that is being read, and how many bits of it are there.
    number: u64,
    bits: u32,
    /// Bytes that are left of the message in which the photos are, while that is read.
    within: Option<u64>,
    bytes: usize,
}

/// Where in the message it stands.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In a field's key.
    Key,
    /// In the number that is its value.
    Number,
    /// In the length of its value.
    Length { field: u64 },
    /// So many bytes before the end of a photo.
    Photo { left: u64 },
    /// So many bytes before the end of another value.
    Other { left: u64 },
    /// In what is no message. The decoder will say so; until then all of it counts.
    Lost,
}

impl Beside {
    pub(super) fn new(photos: Photos) -> Self {
        Self { photos, at: At::Key, number: 0, bits: 0, within: None, bytes: 0 }
    }

    /// Takes the next piece. How many bytes there were by now that are in no photo.
    pub(super) fn read(&mut self, mut piece: &[u8]) -> usize {
        while let Some(&byte) = piece.first() {
            let here = piece.len() as u64;
            let taken = match self.at {
                At::Photo { left } => {
                    let taken = left.min(here);
                    self.at = if taken == left { At::Key } else { At::Photo { left: left - taken } };
                    taken
                }
                At::Other { left } => {
                    let taken = left.min(here);
                    self.at = if taken == left { At::Key } else { At::Other { left: left - taken } };
                    self.bytes += taken as usize;
                    taken
                }
                At::Lost => {
                    self.bytes += piece.len();
                    here
                }
                At::Key | At::Number | At::Length { .. } => {
                    self.bytes += 1;
                    self.within = self.within.map(|left| left.saturating_sub(1));
                    self.digit(byte);
                    1
                }
            };
            // A value that goes on past the message around it is no value; the decoder refuses it.
            if matches!(self.at, At::Key) && self.within == Some(0) {
                self.within = None;
            }
            piece = &piece[taken as usize..];
        }
        self.bytes
    }

    /// Seven bits of a number, least significant first; the eighth says that more follow.
    fn digit(&mut self, byte: u8) {
        if self.bits >= u64::BITS {
            self.at = At::Lost;
            return;
        }
        self.number |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        if byte & 0x80 == 0 {
            let number = std::mem::take(&mut self.number);
            self.bits = 0;
            self.at = self.after(number);
        }
    }

    fn after(&mut self, number: u64) -> At {
        match self.at {
            At::Key => match (number >> 3, number & 7) {
                (_, 0) => At::Number,
                (_, 1) => self.other(8),
                (field, 2) => At::Length { field },
                // The ends of a group, which are keys alone.
                (_, 3 | 4) => At::Key,
                (_, 5) => self.other(4),
                _ => At::Lost,
            },
            At::Length { field } => self.value(field, number),
            At::Number | At::Photo { .. } | At::Other { .. } | At::Lost => At::Key,
        }
    }

    fn value(&mut self, field: u64, length: u64) -> At {
        let is_photo = match (self.photos, self.within) {
            (Photos::Field(photo), _) => field == photo,
            (Photos::Within { message, .. }, None) if field == message => {
                self.within = Some(length);
                return At::Key;
            }
            (Photos::Within { field: photo, .. }, Some(_)) => field == photo,
            (Photos::Within { .. }, None) | (Photos::None, _) => false,
        };
        if !is_photo {
            return self.other(length);
        }
        self.pass(length);
        if length == 0 { At::Key } else { At::Photo { left: length } }
    }

    fn other(&mut self, length: u64) -> At {
        self.pass(length);
        if length == 0 { At::Key } else { At::Other { left: length } }
    }

    /// So much of the message around will have been read when the value has.
    fn pass(&mut self, length: u64) {
        self.within = self.within.map(|left| left.saturating_sub(length));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::super::proto::v1::{self, detect_request, stream_detect_request};
    use super::*;

    fn options() -> v1::DetectOptions {
        v1::DetectOptions {
            min_score: Some(0.5),
            min_scores: [("person".to_owned(), 0.6)].into(),
            classes: vec!["cat".to_owned(), String::new()],
            max_detections: Some(1000),
            region: Some(v1::Box { x_min: 1, y_min: 2, x_max: 300, y_max: 400 }),
            ..Default::default()
        }
    }

    fn model() -> v1::ModelChoice {
        let version_choice = Some(v1::model_choice::VersionChoice::Version(-1));
        v1::ModelChoice { name: "m".repeat(200), version_choice }
    }

    /// That this message has these photos, however it is cut.
    #[track_caller]
    fn assert_beside(photos: Photos, message: &impl Message, in_photos: usize) {
        let message = message.encode_to_vec();
        for size in 1..=message.len() {
            let mut beside = Beside::new(photos);
            let counted = message.chunks(size).fold(0, |_, piece| beside.read(piece));
            assert_eq!(counted, message.len() - in_photos, "in pieces of {size}");
        }
    }

    #[test]
    fn all_but_the_content_of_photos_is_beside_them() {
        let image = Bytes::from(vec![0xff; 300]);
        let one = |photo| v1::DetectRequest { photo, model: Some(model()), options: Some(options()) };
        assert_beside(Photos::OF_DETECT, &one(Some(detect_request::Photo::Image(image.clone()))), 300);
        assert_beside(Photos::OF_DETECT, &one(Some(detect_request::Photo::ImageUrl("https://a.example".into()))), 0);
        assert_beside(Photos::OF_DETECT, &one(None), 0);
        let images = vec![image.clone(), Bytes::new(), image.slice(..1)];
        let image_urls = vec!["https://a.example".to_owned(); 3];
        let batch = v1::DetectBatchRequest { images, image_urls, model: Some(model()), options: Some(options()) };
        assert_beside(Photos::OF_BATCH, &batch, 301);
        let stream = |message| v1::StreamDetectRequest { message: Some(message) };
        for id in [0, 1, u64::MAX] {
            let frame = v1::Frame { id, image: image.clone() };
            assert_beside(Photos::OF_STREAM, &stream(stream_detect_request::Message::Frame(frame)), 300);
        }
        let empty = v1::Frame { id: 7, image: Bytes::new() };
        assert_beside(Photos::OF_STREAM, &stream(stream_detect_request::Message::Frame(empty)), 0);
        let settings = v1::StreamSettings { model: Some(model()), options: Some(options()) };
        assert_beside(Photos::OF_STREAM, &stream(stream_detect_request::Message::Settings(settings)), 0);
    }

    #[test]
    fn what_follows_the_message_with_the_photo_is_no_photo() {
        let frame = v1::Frame { id: 1, image: Bytes::from_static(&[9; 40]) };
        let frame = v1::StreamDetectRequest { message: Some(stream_detect_request::Message::Frame(frame)) };
        let settings = v1::StreamSettings { model: Some(model()), options: Some(options()) };
        let settings = v1::StreamDetectRequest { message: Some(stream_detect_request::Message::Settings(settings)) };
        // Two of them one after the other are one message to a decoder, and so are a frame and another frame.
        let bytes = [frame.encode_to_vec(), settings.encode_to_vec(), frame.encode_to_vec()].concat();
        assert_eq!(Beside::new(Photos::OF_STREAM).read(&bytes), bytes.len() - 80);
    }

    #[test]
    fn what_is_no_message_counts_as_a_whole() {
        // A number of more than 64 bits, and kinds of value that do not exist.
        for bytes in [&[0xff; 40][..], &[0x0e; 40], &[0x0f; 40]] {
            assert_eq!(Beside::new(Photos::OF_BATCH).read(bytes), 40);
        }
    }
}
