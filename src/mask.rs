//! Masks: which pixels of the photo an object covers.
//!
//! A model answers a small [`Grid`] of values 0..1 for each box. Laid over the box and read bilinearly between its values, it
//! says of every place in the box how sure the model is; outside of the box there is nothing. A pixel belongs to the object
//! where the value at its centre is above a half, which is where the tools of both exporters cut.
//!
//! A mask costs the columns of its box times the rows of its grid, however many pixels it covers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::geometry::{Photo, PixelBox, Point, Rect, Size};

/// What is above it belongs to the object.
const THRESHOLD: f32 = 0.5;

/// The values that a model answers for one box, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid<'a> {
    width: usize,
    values: Cow<'a, [f32]>,
    /// How far beyond the box the outermost values lie, in fractions of its width and height.
    margin: (f32, f32),
}

/// The pixels of a photo that an object covers. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    photo: Size,
    runs: Arc<[Run]>,
}

/// Pixels of one column that lie under each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The column.
    pub x: u32,
    /// The first row inside.
    pub y_min: u32,
    /// The first row outside below.
    pub y_max: u32,
}

/// A closed line; its last corner is joined to its first.
pub type Ring = Vec<Point<Photo>>;

impl Mask {
    /// The runs, column by column from the left and each from above; no two touch within a column.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many pixels it covers.
    pub fn area(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.y_max - run.y_min)).sum()
    }

    /// As COCO's uncompressed run lengths: pixels of the whole photo column by column, beginning with how many are outside,
    /// then inside, and so on in turn (cocoapi, `common/maskApi.h`).
    pub fn run_lengths(&self) -> Vec<u64> {
        let height = u64::from(self.photo.height);
        let mut lengths: Vec<u64> = Vec::with_capacity(2 * self.runs.len() + 1);
        let mut end = 0;
        for run in &*self.runs {
            let start = u64::from(run.x) * height + u64::from(run.y_min);
            let length = u64::from(run.y_max - run.y_min);
            match lengths.last_mut() {
                // One that ends with its column and one that begins with the next are one.
                Some(inside) if start == end => *inside += length,
                _ => lengths.extend([start - end, length]),
            }
            end = start + length;
        }
        lengths.extend((end < self.photo.pixels()).then(|| self.photo.pixels() - end));
        lengths
    }
}

impl<'a> Grid<'a> {
    /// A grid whose outermost values lie on the edges of the box; `None` where it has fewer than two rows or columns, or
    /// rows of different lengths.
    pub fn to_the_edges(width: usize, values: &'a [f32]) -> Option<Self> {
        let fits = width >= 2 && values.len() >= 2 * width && values.len().is_multiple_of(width);
        fits.then_some(Self { width, values: Cow::Borrowed(values), margin: (0.0, 0.0) })
    }

    /// A grid of cells that share the box evenly, each value in the middle of its cell, with a border of nothing around
    /// the box; `None` where it is empty or has rows of different lengths.
    pub fn of_cells(width: usize, values: &[f32]) -> Option<Self> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return None;
        }
        let (height, outer) = (values.len() / width, width + 2);
        let mut padded = vec![0.0; outer * (height + 2)];
        for (row, values) in values.chunks_exact(width).enumerate() {
            padded[(row + 1) * outer + 1..][..width].copy_from_slice(values);
        }
        let margin = (0.5 / width as f32, 0.5 / height as f32);
        Some(Self { width: outer, values: Cow::Owned(padded), margin })
    }

    fn height(&self) -> usize {
        self.values.len() / self.width
    }

    /// Where its outermost values lie when it is laid over this box; `None` for a box of no size or a size beyond numbers.
    fn span(&self, rect: &Rect<Photo>) -> Option<Rect<Photo>> {
        let sides = [rect.x_max - rect.x_min, rect.y_max - rect.y_min];
        let [x, y] = [self.margin.0 * sides[0], self.margin.1 * sides[1]];
        let span = Rect::new(rect.x_min - x, rect.y_min - y, rect.x_max + x, rect.y_max + y);
        let sides = [span.x_max - span.x_min, span.y_max - span.y_min];
        sides.iter().all(|side| *side > 0.0 && side.is_finite()).then_some(span)
    }

    /// The pixels of `within` that it covers when it is laid over the box `rect`.
    pub fn mask(&self, rect: &Rect<Photo>, within: PixelBox, photo: Size) -> Mask {
        let Some(span) = self.span(rect) else { return Mask { photo, runs: Arc::default() } };
        let (last_column, last_row) = ((self.width - 1) as f32, (self.height() - 1) as f32);
        // The first row whose centre is at this height of the grid or below.
        let row_of = |height: f32| {
            let y = span.y_min + height / last_row * (span.y_max - span.y_min);
            ((y - 0.5).ceil() as u32).clamp(within.y_min, within.y_max)
        };
        let mut runs: Vec<Run> = Vec::new();
        for x in within.x_min..within.x_max {
            let across = (x as f32 + 0.5 - span.x_min) / (span.x_max - span.x_min) * last_column;
            if !(0.0..last_column).contains(&across) {
                continue;
            }
            for (top, bottom) in above(&self.column(across)) {
                let (y_min, y_max) = (row_of(top), row_of(bottom));
                match runs.last_mut() {
                    Some(run) if run.x == x && run.y_max == y_min => run.y_max = y_max,
                    _ if y_min < y_max => runs.push(Run { x, y_min, y_max }),
                    _ => {}
                }
            }
        }
        Mask { photo, runs: runs.into() }
    }

    /// The values along a line from above to below, `across` columns from the left.
    fn column(&self, across: f32) -> Vec<f32> {
        let left = (across as usize).min(self.width - 2);
        let share = across - left as f32;
        self.values.chunks_exact(self.width).map(|row| row[left] + (row[left + 1] - row[left]) * share).collect()
    }

    /// The outlines of what it covers when it is laid over the box `rect`: outer lines, and those of holes; what lies inside
    /// an odd number of them is covered. Corners beyond `within` are drawn to its edge.
    ///
    /// Marching squares: straight lines between the places where the values on the grid's own lines cross the threshold.
    pub fn outlines(&self, rect: &Rect<Photo>, within: PixelBox) -> Vec<Ring> {
        let Some(span) = self.span(rect) else { return Vec::new() };
        // Squares between nodes; a border of nothing around the grid closes every line.
        let squares = (0..=self.height()).flat_map(|row| (0..=self.width).map(move |column| (row, column)));
        let mut lines: BTreeMap<Edge, Edge> = squares.flat_map(|(row, column)| self.cross(row, column)).collect();
        let mut rings = Vec::new();
        while let Some((&first, _)) = lines.first_key_value() {
            let mut ring: Ring = Vec::new();
            let mut edge = first;
            while let Some(next) = lines.remove(&edge) {
                let Point { x, y, .. } = self.place(edge, &span);
                let corner = Point::new(
                    x.clamp(within.x_min as f32, within.x_max as f32),
                    y.clamp(within.y_min as f32, within.y_max as f32),
                );
                if ring.last() != Some(&corner) {
                    ring.push(corner);
                }
                edge = next;
            }
            if ring.len() > 1 && ring.first() == ring.last() {
                ring.pop();
            }
            if ring.len() > 2 {
                rings.push(ring);
            }
        }
        rings
    }

    /// A value of the grid with its border: rows and columns from 0 to two more than there are.
    fn node(&self, row: usize, column: usize) -> f32 {
        let inside = (1..=self.height()).contains(&row) && (1..=self.width).contains(&column);
        if inside { self.values[(row - 1) * self.width + column - 1] } else { 0.0 }
    }

    /// The lines through the square whose upper left corner is this node, each from edge to edge, the covered side on the
    /// right.
    fn cross(&self, row: usize, column: usize) -> impl Iterator<Item = (Edge, Edge)> + use<> {
        // Clockwise; edge i lies between the corners i and i + 1.
        let corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)];
        let edges = [
            Edge { row, column, is_vertical: false },
            Edge { row, column: column + 1, is_vertical: true },
            Edge { row: row + 1, column, is_vertical: false },
            Edge { row, column, is_vertical: true },
        ];
        let values = corners.map(|(row, column)| self.node(row, column));
        let covered = values.map(|value| value > THRESHOLD);
        // Where two corners face each other the middle says whether they are joined.
        let step = if values.iter().sum::<f32>() / 4.0 > THRESHOLD { 1 } else { 3 };
        let leaves = move |edge: usize| covered[edge] && !covered[(edge + 1) % 4];
        let enters = move |edge: &usize| !covered[*edge] && covered[(*edge + 1) % 4];
        (0..4).filter(move |&edge| leaves(edge)).filter_map(move |from| {
            let to = (1..4).map(|steps| (from + steps * step) % 4).find(enters)?;
            Some((edges[from], edges[to]))
        })
    }

    /// Where the value on an edge is just the threshold.
    fn place(&self, edge: Edge, span: &Rect<Photo>) -> Point<Photo> {
        let Edge { row, column, is_vertical } = edge;
        let other = if is_vertical { (row + 1, column) } else { (row, column + 1) };
        let (from, to) = (self.node(row, column), self.node(other.0, other.1));
        let share = (THRESHOLD - from) / (to - from);
        // The border has the place of the outermost row or column.
        let fraction = |node: usize, count: usize| (node.clamp(1, count) - 1) as f32 / (count - 1) as f32;
        let between = |from: f32, to: f32| from + (to - from) * share;
        let across = between(fraction(column, self.width), fraction(other.1, self.width));
        let down = between(fraction(row, self.height()), fraction(other.0, self.height()));
        Point::new(span.x_min + across * (span.x_max - span.x_min), span.y_min + down * (span.y_max - span.y_min))
    }
}

/// Where a line through these values is above the threshold, between one value and the next: from and to.
fn above(values: &[f32]) -> impl Iterator<Item = (f32, f32)> {
    values.windows(2).enumerate().filter_map(|(row, pair)| {
        let (upper, lower, row) = (pair[0], pair[1], row as f32);
        let crossing = || row + (THRESHOLD - upper) / (lower - upper);
        match (upper > THRESHOLD, lower > THRESHOLD) {
            (true, true) => Some((row, row + 1.0)),
            (true, false) => Some((row, crossing())),
            (false, true) => Some((crossing(), row + 1.0)),
            (false, false) => None,
        }
    })
}

/// The edge from a node to the one right of it or below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    row: usize,
    column: usize,
    is_vertical: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHOTO: Size = Size::new(40, 30);

    fn within(rect: &Rect<Photo>) -> PixelBox {
        rect.to_pixels(PixelBox::whole(PHOTO)).expect("inside")
    }

    fn covers(mask: &Mask, x: u32, y: u32) -> bool {
        mask.runs().iter().any(|run| run.x == x && (run.y_min..run.y_max).contains(&y))
    }

    /// The value at the centre of a pixel, read pixel by pixel; nothing outside of the box.
    fn sampled(grid: &Grid<'_>, rect: &Rect<Photo>, x: u32, y: u32) -> f32 {
        let span = grid.span(rect).expect("a box with sides");
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        if !(rect.x_min..rect.x_max).contains(&x) || !(rect.y_min..rect.y_max).contains(&y) {
            return 0.0;
        }
        let across = (x - span.x_min) / (span.x_max - span.x_min) * (grid.width - 1) as f32;
        let down = (y - span.y_min) / (span.y_max - span.y_min) * (grid.height() - 1) as f32;
        let (column, row) = ((across as usize).min(grid.width - 2), (down as usize).min(grid.height() - 2));
        let at = |row: usize, column: usize| grid.values[row * grid.width + column];
        let along = |row: usize| at(row, column) + (at(row, column + 1) - at(row, column)) * (across - column as f32);
        along(row) + (along(row + 1) - along(row)) * (down - row as f32)
    }

    /// Whether a place is inside an odd number of rings.
    fn is_inside(rings: &[Ring], x: f32, y: f32) -> bool {
        let crossings = rings
            .iter()
            .flat_map(|ring| ring.iter().zip(ring.iter().cycle().skip(1)))
            .filter(|(a, b)| (a.y > y) != (b.y > y) && x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x);
        crossings.count() % 2 == 1
    }

    #[test]
    fn a_full_grid_covers_its_box_in_either_placement() {
        let rect = Rect::new(2.0, 3.0, 6.0, 8.0);
        let full = [1.0; 4];
        for grid in [Grid::to_the_edges(2, &full), Grid::of_cells(2, &full)].map(|grid| grid.expect("two by two")) {
            let mask = grid.mask(&rect, within(&rect), PHOTO);
            assert_eq!(mask.area(), 20);
            // Two columns and three rows are outside first; then five in each of four columns.
            assert_eq!(mask.run_lengths(), [63, 5, 25, 5, 25, 5, 25, 5, 1200 - 63 - 20 - 75]);
            let rings = grid.outlines(&rect, within(&rect));
            assert_eq!(rings.len(), 1);
            assert!(is_inside(&rings, 2.6, 3.6) && is_inside(&rings, 5.4, 7.4), "{rings:?}");
            assert!(!is_inside(&rings, 1.9, 5.0) && !is_inside(&rings, 4.0, 8.1), "{rings:?}");
        }
    }

    #[test]
    fn values_lie_on_the_edges_or_in_the_middle_of_cells() {
        let rect = Rect::new(0.0, 0.0, 30.0, 30.0);
        let halves = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0];
        let width = |grid: Option<Grid<'_>>| {
            grid.expect("three by three").mask(&rect, within(&rect), PHOTO).runs().iter().map(|run| run.x).max()
        };
        // Between the second and the third value it crosses a half: at 15 + 7.5, and at 15 + 5.
        assert_eq!(width(Grid::to_the_edges(3, &halves)), Some(21));
        assert_eq!(width(Grid::of_cells(3, &halves)), Some(19));
    }

    #[test]
    fn run_lengths_begin_with_what_is_outside_and_join_across_columns() {
        let mask = |runs: &[(u32, u32, u32)]| Mask {
            photo: Size::new(3, 4),
            runs: runs.iter().map(|&(x, y_min, y_max)| Run { x, y_min, y_max }).collect(),
        };
        assert_eq!(mask(&[]).run_lengths(), [12]);
        assert_eq!(mask(&[(0, 0, 4), (1, 0, 4), (2, 0, 4)]).run_lengths(), [0, 12]);
        assert_eq!(mask(&[(0, 1, 2), (0, 3, 4), (1, 0, 2)]).run_lengths(), [1, 1, 1, 3, 6]);
    }

    #[test]
    fn half_a_grid_covers_half_of_the_box_and_a_hole_stays_one() {
        let rect = Rect::new(0.0, 0.0, 20.0, 20.0);
        let left = Grid::to_the_edges(3, &[1.0, 0.5, 0.0, 1.0, 0.5, 0.0]).expect("three by two");
        let mask = left.mask(&rect, within(&rect), PHOTO);
        assert!(mask.runs().iter().all(|run| run.x < 10) && mask.area() == 200, "{mask:?}");

        let mut ring = [1.0; 25];
        ring[12] = 0.0;
        let ring = Grid::to_the_edges(5, &ring).expect("five by five");
        let rings = ring.outlines(&rect, within(&rect));
        assert_eq!(rings.len(), 2, "{rings:?}");
        assert!(!is_inside(&rings, 10.0, 10.0) && is_inside(&rings, 3.0, 10.0));
        let mask = ring.mask(&rect, within(&rect), PHOTO);
        assert!(!covers(&mask, 10, 10) && covers(&mask, 3, 10) && mask.area() < 400);
    }

    #[test]
    fn corners_that_face_each_other_are_joined_where_the_middle_is_covered() {
        let rect = Rect::new(0.0, 0.0, 20.0, 20.0);
        let rings = |across: f32| {
            let values = [across, 0.0, 0.0, across];
            Grid::to_the_edges(2, &values).expect("two by two").outlines(&rect, within(&rect)).len()
        };
        assert_eq!((rings(0.8), rings(1.2)), (2, 1));
    }

    #[test]
    fn a_box_without_sides_or_with_endless_ones_covers_nothing() {
        let full = [1.0; 4];
        let far = f32::MAX;
        let boxes = [[5.2, 3.0, 5.2, 8.0], [2.0, 3.2, 6.0, 3.2], [-far, 0.0, far, 9.0], [0.0, -far, 9.0, far]];
        for grid in [Grid::to_the_edges(2, &full), Grid::of_cells(2, &full)].map(|grid| grid.expect("two by two")) {
            for [x_min, y_min, x_max, y_max] in boxes {
                let rect = Rect::new(x_min, y_min, x_max, y_max);
                assert_eq!(grid.mask(&rect, within(&rect), PHOTO).area(), 0, "{rect:?}");
                assert!(grid.outlines(&rect, within(&rect)).is_empty(), "{rect:?}");
            }
        }
    }

    #[test]
    fn what_has_no_rows_and_columns_is_no_grid() {
        for (width, values) in [(1, 4), (4, 4), (3, 7), (0, 0)] {
            assert!(Grid::to_the_edges(width, &vec![1.0; values]).is_none(), "{width}, {values}");
        }
        for (width, values) in [(3, 7), (0, 0), (2, 0)] {
            assert!(Grid::of_cells(width, &vec![1.0; values]).is_none(), "{width}, {values}");
        }
    }

    proptest! {
        #[test]
        fn runs_and_outlines_are_what_sampling_gives(
            values in prop::collection::vec(0.0f32..1.0, 12), x in -5.0f32..30.0, y in -5.0f32..20.0,
            width in 2.0f32..30.0, height in 2.0f32..30.0, is_of_cells: bool,
        ) {
            let grid = if is_of_cells { Grid::of_cells(4, &values) } else { Grid::to_the_edges(4, &values) };
            let grid = grid.expect("four by three");
            let rect = Rect::new(x, y, x + width, y + height);
            let Some(within) = rect.to_pixels(PixelBox::whole(PHOTO)) else { return Ok(()) };
            let mask = grid.mask(&rect, within, PHOTO);
            prop_assert_eq!(mask.run_lengths().iter().sum::<u64>(), PHOTO.pixels());
            let inside = mask.run_lengths().iter().skip(1).step_by(2).sum::<u64>();
            prop_assert_eq!(inside, mask.area());
            let rings = grid.outlines(&rect, within);
            let mut wrong = 0;
            for x in within.x_min..within.x_max {
                for y in within.y_min..within.y_max {
                    let value = sampled(&grid, &rect, x, y);
                    // On the line itself, and on the edge of the box, rounding decides.
                    let on_edge = [x as f32 + 0.5 - rect.x_min, x as f32 + 0.5 - rect.x_max, y as f32 + 0.5 - rect.y_min,
                                   y as f32 + 0.5 - rect.y_max].iter().any(|distance| distance.abs() < 1e-3);
                    if (value - THRESHOLD).abs() > 1e-3 && !on_edge {
                        prop_assert_eq!(covers(&mask, x, y), value > THRESHOLD, "{}, {}: {}", x, y, value);
                    }
                    wrong += usize::from(covers(&mask, x, y) != is_inside(&rings, x as f32 + 0.5, y as f32 + 0.5));
                }
            }
            // Straight lines between the grid's lines stand for the curves of bilinear interpolation.
            let pixels = within.size().pixels() as usize;
            let border = (within.size().width + within.size().height) as usize;
            prop_assert!(wrong <= pixels / 8 + border, "{} of {}", wrong, pixels);
        }
    }
}
