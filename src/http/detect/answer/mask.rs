//! A mask in an answer.

use serde::Serialize;
use utoipa::ToSchema;

use super::round;
use crate::detect::Segmentation;
use crate::geometry::Size;
use crate::mask::Ring;

/// The pixels that an object covers, inside its box, in the frame of all boxes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ObjectMask {
    /// How many there are.
    #[schema(example = 9)]
    pub area: u64,
    /// With `masks=rle`: pixel by pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rle: Option<RunLengths>,
    /// With `masks=polygon`: lines around them, each as x, y, x, y, … in pixels. Holes have lines of their own; what lies inside
    /// an odd number of lines is covered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!([[12.0, 4.5, 30.5, 4.5, 30.5, 80.0, 12.0, 80.0]]))]
    pub polygons: Option<Vec<Vec<f64>>>,
}

/// A mask of the whole photo as COCO's uncompressed run lengths, as `pycocotools` reads them.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunLengths {
    /// Height and width of the photo.
    #[schema(example = json!([6, 8]), min_items = 2, max_items = 2)]
    pub size: [u32; 2],
    /// Pixels column by column from the upper left: how many are outside, then how many inside, and so on in turn. All
    /// together are height times width.
    #[schema(example = json!([13, 3, 3, 3, 3, 3, 20]))]
    pub counts: Vec<u64>,
}

impl ObjectMask {
    pub(super) fn new(found: &Segmentation, photo: Size) -> Self {
        let flat = |ring: &Ring| ring.iter().flat_map(|corner| [pixels(corner.x), pixels(corner.y)]).collect();
        let rle = || RunLengths { size: [photo.height, photo.width], counts: found.mask.run_lengths() };
        Self {
            area: found.mask.area(),
            rle: found.outlines.is_none().then(rle),
            polygons: found.outlines.as_ref().map(|rings| rings.iter().map(flat).collect()),
        }
    }
}

/// To a tenth of a pixel.
pub(super) fn pixels(distance: f32) -> f64 {
    round(f64::from(distance), 10.0)
}
