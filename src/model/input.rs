//! What a model takes, and how a photo becomes just that.

use std::borrow::Cow;

use bytes::Bytes;

use crate::fault::Fault;
use crate::geometry::{Letterbox, Size, View};
use crate::image::{Decoded, Rgb, encode, fit};
use crate::tensor::{Tensor, Values};

/// The one picture input of a detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The key in the signature.
    pub key: String,
    /// What goes there.
    pub form: Form,
}

impl Input {
    /// A grey picture in this input's form, for a Predict whose answer does not matter. An open size becomes 64 x 64.
    ///
    /// # Errors
    /// None for a size that an adapter accepts.
    pub fn blank(&self) -> Result<Prepared, Fault> {
        let size = match &self.form {
            Form::Pixels(Pixels { canvas: CanvasSize::Fixed(size), .. }) => *size,
            Form::Pixels(_) | Form::Encoded => Size::new(64, 64),
        };
        let grey = Decoded::full(Rgb::filled(size, [128; 3]));
        self.prepare(Cow::Owned(grey), self.letterbox(View::whole(size), 64))
    }

    /// How a window of a photo is laid out for this input; no side of it is longer than `max_side` where the model leaves
    /// the size open.
    pub fn letterbox(&self, view: View, max_side: u32) -> Letterbox {
        match &self.form {
            Form::Pixels(Pixels { canvas: CanvasSize::Fixed(canvas), resize, .. }) => match resize {
                Resize::Letterbox(Place::TopLeft) => Letterbox::inside(view, *canvas),
                Resize::Letterbox(Place::Center) => Letterbox::centred(view, *canvas),
                Resize::Stretch => Letterbox::stretched(view, *canvas),
            },
            Form::Pixels(_) | Form::Encoded => Letterbox::shrunk(view, max_side),
        }
    }

    /// The photo as this input wants it: as a tensor of pixels, or as a new file. Pixels that are given and not lent become the
    /// tensor without a copy where the model takes them as they are.
    ///
    /// # Errors
    /// None for a photo that was decoded here.
    pub fn prepare(&self, photo: Cow<'_, Decoded>, letterbox: Letterbox) -> Result<Prepared, Fault> {
        let tensor = match &self.form {
            Form::Encoded => file_tensor(encode::for_model(&fit::fit(photo, &letterbox, [0; 3]))?),
            Form::Pixels(pixels) => pixels.tensor(fit::fit(photo, &letterbox, pixels.pad)),
        };
        Ok(Prepared { tensor, letterbox })
    }

    /// What the canvas of a view takes at most, in pixels of a photo of this size, for which 16 bytes are reckoned. Samples of
    /// float32 take 12 bytes a pixel here and as many in the message to a model server.
    pub fn weight(&self, photo: Size, max_side: u32) -> u64 {
        let open = photo.pixels().min(u64::from(max_side).pow(2));
        match &self.form {
            Form::Encoded => open,
            Form::Pixels(Pixels { canvas, samples, .. }) => {
                let pixels = if let CanvasSize::Fixed(canvas) = canvas { canvas.pixels() } else { open };
                if matches!(samples, Samples::F32 { .. }) { pixels + pixels / 2 } else { pixels }
            }
        }
    }

    /// The longest side that the model sees; `max_side` where it leaves the size open.
    pub fn side(&self, max_side: u32) -> u32 {
        match &self.form {
            Form::Pixels(Pixels { canvas: CanvasSize::Fixed(size), .. }) => size.width.max(size.height),
            Form::Pixels(_) | Form::Encoded => max_side,
        }
    }
}

/// In which form a model takes a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A whole JPEG or PNG file as a string tensor `[1]`; the model decodes it, and ignores EXIF.
    Encoded,
    /// Pixels.
    Pixels(Pixels),
}

/// How pixels are laid out in a tensor with a leading batch axis of 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    /// The canvas the photo is laid on.
    pub canvas: CanvasSize,
    /// What a sample is.
    pub samples: Samples,
    /// The order of the axes.
    pub layout: Layout,
    /// The order of the channels.
    pub channels: Channels,
    /// How a photo of another aspect is made to fit a canvas of a fixed size.
    pub resize: Resize,
    /// The colour of the canvas outside the photo, in RGB.
    pub pad: [u8; 3],
}

/// The size of the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanvasSize {
    /// Exactly this; the rest of it is padded.
    Fixed(Size),
    /// The photo's own, shrunk where a side is longer than the service's `max_side`.
    OfThePhoto,
}

/// What a sample is, made from a byte `x` of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Samples {
    /// `x` as uint8.
    U8,
    /// `(x - mean) / std` as float32, per channel in the model's own channel order.
    F32 {
        /// Subtracted first.
        mean: [f32; 3],
        /// Divided by then.
        std: [f32; 3],
    },
}

impl Samples {
    /// `x` as float32, 0..255.
    pub const PLAIN_F32: Self = Self::F32 { mean: [0.0; 3], std: [1.0; 3] };
}

/// How a photo is made to fit a canvas of another aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Its aspect is kept, and what is left of the canvas is padded.
    Letterbox(Place),
    /// It covers the whole canvas, its aspect lost.
    Stretch,
}

impl Resize {
    /// As most detectors have it.
    pub const LETTERBOX: Self = Self::Letterbox(Place::TopLeft);
}

/// Where on the canvas a photo is laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Place {
    TopLeft,
    Center,
}

/// The order of the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[1, height, width, 3]`
    Nhwc,
    /// `[1, 3, height, width]`
    Nchw,
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Channels {
    Rgb,
    Bgr,
}

/// A photo in the model's own terms, with the way back.
#[derive(Debug)]
pub struct Prepared {
    /// What is sent.
    pub tensor: Tensor,
    /// How the photo lies on the model's canvas.
    pub letterbox: Letterbox,
}

impl Pixels {
    fn tensor(&self, canvas: Cow<'_, Rgb>) -> Tensor {
        let Size { width, height } = canvas.size();
        let (width, height) = (width as usize, height as usize);
        let shape = match self.layout {
            Layout::Nhwc => vec![1, height, width, 3],
            Layout::Nchw => vec![1, 3, height, width],
        };
        let source = |channel: usize| match self.channels {
            Channels::Rgb => channel,
            Channels::Bgr => 2 - channel,
        };
        let values = match self.samples {
            Samples::U8 => Values::U8(match (self.layout, self.channels) {
                (Layout::Nhwc, Channels::Rgb) => canvas.into_owned().into_data().into(),
                _ => self.arrange(canvas.data(), |channel, pixel| pixel[source(channel)]).into(),
            }),
            Samples::F32 { mean, std } => {
                let scale = std.map(|std| 1.0 / std);
                Values::F32(self.arrange(canvas.data(), |channel, pixel| {
                    (f32::from(pixel[source(channel)]) - mean[channel]) * scale[channel]
                }))
            }
        };
        Tensor::new(shape, values).expect("a canvas has three samples a pixel")
    }

    /// Every sample in the order of the layout.
    fn arrange<T>(&self, data: &[u8], sample: impl Fn(usize, &[u8]) -> T) -> Vec<T> {
        let mut samples = Vec::with_capacity(data.len());
        match self.layout {
            Layout::Nhwc => {
                for pixel in data.chunks_exact(3) {
                    samples.extend((0..3).map(|channel| sample(channel, pixel)));
                }
            }
            Layout::Nchw => {
                for channel in 0..3 {
                    samples.extend(data.chunks_exact(3).map(|pixel| sample(channel, pixel)));
                }
            }
        }
        samples
    }
}

/// The client's own file for a model that decodes by itself; `photo` is the size of its picture.
pub fn untouched(file: Bytes, photo: Size) -> Prepared {
    Prepared { tensor: file_tensor(file), letterbox: Letterbox::untouched(photo) }
}

/// A whole encoded picture as a string tensor `[1]`.
fn file_tensor(file: Bytes) -> Tensor {
    Tensor::new(vec![1], Values::String(vec![file])).expect("one string fills [1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels as the input takes them.
    fn prepare(pixels: &Pixels, max_side: u32) -> Prepared {
        let photo = Decoded::full(Rgb::new(Size::new(2, 1), vec![10, 20, 30, 40, 50, 60]).expect("two pixels"));
        let input = Input { key: "image".to_owned(), form: Form::Pixels(pixels.clone()) };
        let letterbox = input.letterbox(View::whole(photo.photo()), max_side);
        input.prepare(Cow::Owned(photo), letterbox).expect("pixels never fail")
    }

    #[test]
    fn samples_are_laid_out_as_the_model_wants() {
        let pixels = |samples, layout, channels| Pixels {
            canvas: CanvasSize::OfThePhoto,
            samples,
            layout,
            channels,
            resize: Resize::LETTERBOX,
            pad: [0; 3],
        };
        let tensor = |pixels: Pixels| prepare(&pixels, 1024).tensor;

        let plain = tensor(pixels(Samples::U8, Layout::Nhwc, Channels::Rgb));
        assert_eq!(plain.shape(), [1, 1, 2, 3]);
        assert_eq!(plain.values(), &Values::U8(Bytes::from_static(&[10, 20, 30, 40, 50, 60])));

        let swapped = tensor(pixels(Samples::U8, Layout::Nhwc, Channels::Bgr));
        assert_eq!(swapped.values(), &Values::U8(Bytes::from_static(&[30, 20, 10, 60, 50, 40])));

        let planes = tensor(pixels(Samples::PLAIN_F32, Layout::Nchw, Channels::Bgr));
        assert_eq!(planes.shape(), [1, 3, 1, 2]);
        assert_eq!(planes.numbers(), Some(&[30.0, 60.0, 20.0, 50.0, 10.0, 40.0][..]));

        let scaled = Samples::F32 { mean: [10.0, 0.0, 0.0], std: [2.0, 1.0, 1.0] };
        let scaled = tensor(pixels(scaled, Layout::Nhwc, Channels::Rgb));
        assert_eq!(scaled.numbers(), Some(&[0.0, 20.0, 30.0, 15.0, 50.0, 60.0][..]), "mean and std per channel");
    }

    #[test]
    fn a_fixed_canvas_is_padded_and_an_open_one_is_bounded() {
        let mut pixels = Pixels {
            canvas: CanvasSize::Fixed(Size::new(4, 4)),
            samples: Samples::U8,
            layout: Layout::Nhwc,
            channels: Channels::Rgb,
            resize: Resize::LETTERBOX,
            pad: [114; 3],
        };
        let fixed = prepare(&pixels, 1);
        assert_eq!(fixed.tensor.shape(), [1, 4, 4, 3]);
        assert_eq!(fixed.letterbox.content, Size::new(4, 2));
        let Values::U8(bytes) = fixed.tensor.values() else { panic!("bytes") };
        assert_eq!(bytes[4 * 4 * 3 - 3..], [114; 3]);
        pixels.canvas = CanvasSize::OfThePhoto;
        assert_eq!(prepare(&pixels, 1).tensor.shape(), [1, 1, 1, 3]);
    }
}
