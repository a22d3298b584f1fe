//! Runs one step so many times, for callgrind to count: `instructions STEP COUNT` (see callgrind.sh).

mod steps;

/// What callgrind counts, and nothing else: making the step ready takes far more. Not inlined, so that it has a name.
#[inline(never)]
fn counted_by_callgrind(step: &mut steps::Step, count: usize) {
    (0..count).for_each(|_| step());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else { return Err("usage: instructions STEP COUNT".into()) };
    let step = steps::STEPS.into_iter().find(|(known, _)| known == name);
    let (_, make) = step.ok_or_else(|| format!("no step {name}"))?;
    counted_by_callgrind(&mut make(), count.parse()?);
    Ok(())
}
