//! Runs one step so many times, for callgrind to count: `instructions STEP COUNT` (see callgrind.sh).

mod steps;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else { return Err("usage: instructions STEP COUNT".into()) };
    let step = steps::all().into_iter().find(|(known, _)| known == name);
    let (_, mut step) = step.ok_or_else(|| format!("no step {name}"))?;
    (0..count.parse::<usize>()?).for_each(|_| step());
    Ok(())
}
