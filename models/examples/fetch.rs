//! Fetches the models named on the command line (default: what `offhook run` needs) into the default store, with timing.

use std::time::Instant;

use models::{Progress, Store, catalogue};

struct Lines;

impl Progress for Lines {
    fn started(&mut self, name: &str, total_bytes: u64) {
        eprintln!("  {name} ({total_bytes} bytes)");
    }

    fn step(&mut self, what: &str) {
        eprintln!("  {what}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(Store::default_folder().ok_or("no home folder")?)?;
    let mut ids: Vec<String> = std::env::args().skip(1).collect();
    if ids.is_empty() {
        ids = catalogue::minimal_set().into_iter().map(str::to_owned).collect();
    }
    for id in ids {
        let start = Instant::now();
        let fetched = store.fetch(&id, &mut Lines);
        eprintln!("{id}: {:.1} s", start.elapsed().as_secs_f64());
        fetched?;
    }
    Ok(())
}
