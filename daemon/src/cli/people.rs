//! `offhook people`: who callers may ask for, who may be rung now, who is away, whose turn it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::json;

use super::Common;
use crate::config::{Config, ConfigMistakes};
use crate::dial_plan::{Decision, from_phone};
use crate::office::import::{Change, FILE_MAX_BYTES, Format, compare, read};
use crate::office::{Office, Person, Staff};
use crate::requests::{ImportedPerson, Request, submit};
use crate::storage::{PersonRow, Reader, UnixMs, list_people};
use crate::views::person_json;

/// Subcommands of `offhook people`.
#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// List everybody, and whether they may be rung now
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one person
    Show {
        /// Their name, or a part of it that nobody else has
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Who may be rung now
    Reachable {
        /// As at another moment, in the office's time: 2026-12-24T18:00
        #[arg(long)]
        at: Option<DateTime>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take over people from an address book: vCard 3.0 or 4.0, or CSV with the columns name, department, extension,
    /// mobile, email, hours
    ///
    /// All of them or, if anything in the file is wrong, nobody. Who is known gets new values; what the file leaves empty
    /// stays. What the configuration says about somebody of the same name comes first.
    Import {
        /// Ends in .vcf or .csv
        file: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget somebody who was imported
    Forget {
        /// Their name, or a part of it that nobody else has
        name: String,
    },
    /// Note that somebody is away
    Absent {
        /// Their name, or a part of it that nobody else has
        name: String,
        /// Their last day, 2026-12-24, or the moment they are back, 2026-12-24T13:00, in the office's time
        #[arg(long)]
        until: String,
        /// Their first day, or the moment they leave; now without it
        #[arg(long)]
        from: Option<String>,
    },
    /// Note that somebody is there again
    Present {
        /// Their name, or a part of it that nobody else has
        name: String,
        /// Forget what was to come too
        #[arg(long)]
        later_too: bool,
    },
    /// Whose turn it is to be on call, and until when
    OnCall {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl People {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let (office, imported) = load(&config)?;
        let now = Zoned::now().with_time_zone(office.time_zone().clone());
        let ask = |request: Request| submit(&config.state_directory(), &request);
        match self {
            People::List { json } => show(&office, office.people.iter(), &now, *json)?,
            People::Show { name, json } => show(&office, [find(&office, name)?], &now, *json)?,
            People::Reachable { at, json } => {
                let now = match at {
                    Some(at) => at.to_zoned(office.time_zone().clone())?,
                    None => now,
                };
                let is_reachable = |person: &&Person| office.presence(person, &now).is_reachable();
                show(&office, office.people.iter().filter(is_reachable), &now, *json)?;
            }
            People::Import { file, dry_run, json } => return import(&config, &imported, file, *dry_run, *json),
            People::Forget { name } => {
                let name = find(&office, name)?.name.clone();
                ask(Request::ForgetPerson { name })?;
            }
            People::Absent { name, until, from } => {
                let person = find(&office, name)?;
                let zone = office.time_zone();
                let until = moment(until, zone, true).context("--until")?;
                let from = from.as_deref().map(|from| moment(from, zone, false).context("--from")).transpose()?;
                let from = from.unwrap_or_else(|| now.timestamp());
                anyhow::ensure!(until > from && until > now.timestamp(), "--until is over before it begins");
                let at = |moment: Timestamp| UnixMs(moment.as_millisecond());
                ask(Request::Absent { name: person.name.clone(), from: at(from), until: at(until) })?;
                println!("{} is away until {}", person.name, shown(&until.to_zoned(zone.clone())));
            }
            People::Present { name, later_too } => {
                let name = find(&office, name)?.name.clone();
                ask(Request::Present { name, later_too: *later_too })?;
            }
            People::OnCall { json } => on_call(&office, &now, *json)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The office as it is now, and who was imported. Without a database nobody was.
fn load(config: &Config) -> anyhow::Result<(Arc<Office>, Vec<PersonRow>)> {
    let office = Arc::new(Office::try_from(&config.office).map_err(ConfigMistakes)?);
    let Ok(reader) = Reader::open(&config.state_directory(), 1) else { return Ok((office, Vec::new())) };
    let read = reader.read_blocking(|db| Ok((Staff::read(Arc::clone(&office), db)?.office(), list_people(db)?)));
    // One that was migrated by an older release has no people.
    Ok(read.unwrap_or((office, Vec::new())))
}

fn find<'a>(office: &'a Office, name: &str) -> anyhow::Result<&'a Person> {
    if let Some(person) = office.person(name) {
        return Ok(person);
    }
    let part = name.trim().to_lowercase();
    let found: Vec<&Person> =
        office.people.iter().filter(|one| !part.is_empty() && one.name.to_lowercase().contains(&part)).collect();
    match found.as_slice() {
        [person] => Ok(person),
        [] => anyhow::bail!("nobody is called {name:?}; `offhook people list` shows all names"),
        several => {
            let names: Vec<_> = several.iter().map(|person| person.name.as_str()).collect();
            anyhow::bail!("{name:?} may be {}", names.join(" or "))
        }
    }
}

/// A day is over when the next begins.
fn moment(text: &str, zone: &TimeZone, is_end: bool) -> anyhow::Result<Timestamp> {
    let expected =
        || format!("found {text:?}, expected a day such as 2026-12-24, or a moment such as 2026-12-24T13:00");
    if let (Ok(date), 10) = (text.parse::<Date>(), text.len()) {
        let date = if is_end { date.tomorrow()? } else { date };
        return Ok(date.to_zoned(zone.clone())?.timestamp());
    }
    let moment: DateTime = text.parse().with_context(expected)?;
    Ok(moment.to_zoned(zone.clone())?.timestamp())
}

fn shown(moment: &Zoned) -> String {
    moment.strftime("%a %Y-%m-%d %H:%M").to_string()
}

fn show<'a>(
    office: &Office,
    people: impl IntoIterator<Item = &'a Person>,
    now: &Zoned,
    as_json_too: bool,
) -> anyhow::Result<()> {
    let people: Vec<&Person> = people.into_iter().collect();
    if as_json_too {
        let rows: Vec<_> = people.iter().map(|person| person_json(office, person, now)).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    if people.is_empty() {
        println!("Nobody.");
    }
    for person in people {
        let presence = office.presence(person, now);
        let until = presence.until().map_or(String::new(), |until| format!("until {}", shown(until)));
        let ways = [
            person.reach.as_ref().map(ToString::to_string),
            person.mobile.as_ref().map(|mobile| mobile.reveal().clone()),
            person.email.as_ref().map(|email| email.reveal().clone()),
        ];
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        let (name, department) = (&person.name, person.department.as_deref().unwrap_or("-"));
        println!("{name:<24} {department:<14} {:<10} {until:<28} {}", presence.as_str(), ways.join("  "));
    }
    Ok(())
}

fn on_call(office: &Office, now: &Zoned, as_json: bool) -> anyhow::Result<()> {
    let found = office.on_call(now);
    if as_json {
        let found = found.map(|(name, until)| json!({ "name": name, "until": until.timestamp().to_string() }));
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    match (found, &office.on_call) {
        (Some((name, until)), _) => println!("{name} until {}", shown(&until)),
        (None, Some(_)) => println!("Nobody: all who take turns are away."),
        (None, None) => println!("Nobody takes turns: the configuration has no [office.on_call]."),
    }
    Ok(())
}

fn import(config: &Config, known: &[PersonRow], file: &Path, dry_run: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    let format =
        Format::of_name(&name).with_context(|| format!("{name}: expected a name that ends in .vcf or .csv"))?;
    let size = std::fs::metadata(file).with_context(|| name.clone())?.len();
    anyhow::ensure!(size <= FILE_MAX_BYTES as u64, "{name}: {size} bytes, expected at most {FILE_MAX_BYTES}");
    let people = match read(&std::fs::read(file).with_context(|| name.clone())?, format) {
        Ok(people) => people,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{name}: {mistake}"));
            anyhow::bail!("nobody was imported");
        }
    };
    for person in &people {
        warn_of(config, person);
    }
    let changes = compare(known, &people);
    tell(&people, &changes, dry_run, as_json)?;
    if !dry_run {
        let people = people.iter().map(ImportedPerson::from).collect();
        submit(&config.state_directory(), &Request::ImportPeople { people })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is right in the file and still of no use here.
fn warn_of(config: &Config, person: &PersonRow) {
    let name = &person.name;
    if let Some(extension) = person.extension.as_ref().filter(|extension| !config.has_extension(extension)) {
        eprintln!("{name}: there is no extension {extension} in [[extensions]]; it will not ring");
    }
    if let Some(mobile) = &person.mobile
        && !matches!(from_phone(config, mobile.reveal(), true), Decision::Outside { .. })
    {
        eprintln!("{name}: [outbound] does not allow {}; it will not ring", mobile.reveal());
    }
}

fn tell(people: &[PersonRow], changes: &[Change], dry_run: bool, as_json: bool) -> anyhow::Result<()> {
    let word = |change: &Change| match change {
        Change::New => "new",
        Change::Changed(_) => "changed",
        Change::Same => "same",
    };
    if as_json {
        let row = |(person, change): (&PersonRow, &Change)| {
            let fields = if let Change::Changed(fields) = change { fields.as_slice() } else { &[] };
            let field = |(field, before, after): &(&str, Option<String>, String)| json!({ "field": field, "before": before, "after": after });
            json!({ "name": person.name, "change": word(change), "fields": fields.iter().map(field).collect::<Vec<_>>() })
        };
        let rows: Vec<_> = people.iter().zip(changes).map(row).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "dry_run": dry_run, "people": rows }))?);
        return Ok(());
    }
    for (person, change) in people.iter().zip(changes) {
        println!("{:<8} {}", word(change), person.name);
        if let Change::Changed(fields) = change {
            for (field, before, after) in fields {
                println!("         {field}: {} -> {after}", before.as_deref().unwrap_or("-"));
            }
        }
    }
    let count = |wanted: &str| changes.iter().filter(|change| word(change) == wanted).count();
    let (new, changed, same) = (count("new"), count("changed"), count("same"));
    let end = if dry_run { "; nothing was done (--dry-run)" } else { "" };
    println!("{new} new, {changed} changed, {same} the same{end}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::sample;

    #[test]
    fn a_person_is_found_by_a_part_of_the_name_that_nobody_else_has() {
        let office = sample::office().unwrap();
        assert_eq!(find(&office, "susan BROWN").unwrap().name, "Susan Brown");
        assert_eq!(find(&office, "lopez").unwrap().name, "Doctor Maria Lopez");
        let several = find(&office, "doctor").unwrap_err().to_string();
        assert_eq!(several, "\"doctor\" may be Doctor Maria Lopez or Doctor James Chen");
        assert!(find(&office, "nobody").is_err() && find(&office, " ").is_err());
    }

    #[test]
    fn a_last_day_is_away_to_its_end() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let shown = |text: &str, is_end| moment(text, &zone, is_end).map(|at| at.to_string());
        assert_eq!(shown("2026-12-24", true).unwrap(), "2026-12-25T05:00:00Z");
        assert_eq!(shown("2026-12-24", false).unwrap(), "2026-12-24T05:00:00Z");
        assert_eq!(shown("2026-12-24T13:00", true).unwrap(), "2026-12-24T18:00:00Z");
        assert!(shown("Christmas", true).unwrap_err().to_string().contains("expected a day"));
    }
}
