//! The running box: everything started in the right order, and stopped in the reverse one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use sip_stack::endpoint::{Endpoint, EndpointConfig, EndpointLimits, LocalAddress};
use sip_stack::message::{Host, HostPort, Method};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::answering::{Answerer, BuiltIn, InCharacter, Persona, WithLanguageModel};
use crate::api::{Api, Callbacks, Inside, Outside, Pages, Sources};
use crate::backup::Backups;
use crate::bell::Bell;
use crate::call::{
    Abilities, Bridges, CallsUp, Carriers, Diversions, Ears, Lamps, Legs, Lines, Mind, Minutes, PACKAGES, Phones,
    Pickups, Places, Router, Services, Switchboard, Tones, TrunkWatch, hold_music, monitor, serve_desk,
};
use crate::config::Config;
use crate::conversation::{machine::Settings, phrases};
use crate::deliveries::Post;
use crate::education::{self, learn_tools};
use crate::engines::Engines;
use crate::errands::Errands;
use crate::inference::{Priority, Queue, Worker};
use crate::io::address::{Follower, OwnAddress, Reached};
use crate::io::bans;
use crate::io::gate::{Origins, SharedGate};
use crate::io::media::MediaHandle;
use crate::io::ports::PortPool;
use crate::io::sip::{self, SipConfig, SipHandle};
use crate::knowledge::{Knowledge, Watch};
use crate::mcp::ToolBox;
use crate::notices::Composer;
use crate::office::{Office, Staff};
use crate::registrar::Registrar;
use crate::registrar::pins::Pins;
use crate::rehearsal;
use crate::requests::Desk;
use crate::second_hearing::SecondHearing;
use crate::speaker::{Mouth, Speaker};
use crate::storage::{
    AudioFiles, PlainWav, Storage, StorageConfig, UnixMs, close_interrupted_sessions, close_mailboxes,
    forget_trunk_states, restore_registrations, talked_outside_ms,
};
use crate::sync::CloudSync;
use crate::sync::blobs::Uploads;

/// Calls beyond the limit that may be under way to their refusal.
const REFUSED_CALLS: usize = 64;

/// A box that answers calls; stop it with [`stop`](Service::stop).
pub struct Service {
    sip: SipHandle,
    ports: PortPool,
    tools: Arc<ToolBox>,
    storage: Storage,
    stop: watch::Sender<bool>,
    router: JoinHandle<()>,
    address: JoinHandle<()>,
    bans: JoinHandle<()>,
    staff: JoinHandle<()>,
    monitor: Option<JoinHandle<()>>,
    rehearsal: JoinHandle<()>,
    heard_again: Option<JoinHandle<()>>,
    errands: Errands,
    cloud: CloudSync,
    backups: Backups,
    uploads: Uploads,
    api: Option<Api>,
    /// What is missing and what that means for callers.
    degraded: Vec<String>,
    /// None for the sample office.
    knowledge_watch: Option<Watch>,
    // Kept to the end: dropping a worker waits for its thread.
    _ears: Worker<Ears>,
    _scribe: Option<Worker<Ears>>,
    _mind: Worker<Mind>,
    _mouth: Worker<Mouth>,
}

impl Service {
    /// Opens storage, loads the knowledge, binds the ports and begins to answer. Returns when calls are taken.
    ///
    /// # Errors
    /// With what failed and the way out: a port that is taken, a database of a newer release, a folder without rights.
    pub async fn start(config: Config, engines: Engines) -> anyhow::Result<Service> {
        let office = Office::try_from(&config.office).map_err(crate::config::ConfigMistakes)?;
        let office = Arc::new(office);
        let tls = config.sip.tls.open(&config.machine_directory())?;
        let (storage, audio_files) = open_storage(&config).await?;
        let staff = {
            let office = Arc::clone(&office);
            storage.read(move |db| Staff::read(office, db)).await?
        };
        let carriers = Carriers::new(&config)?;
        let hold_music = hold_music(config.calls.hold_music_file.as_deref())?;
        let registrar = restore(&storage).await?;
        let diversions = Diversions::new(storage.read(crate::storage::diversions).await?);
        let abilities = Abilities {
            speech_to_text: engines.speech_to_text.is_some(),
            text_to_speech: engines.text_to_speech.is_some(),
        };
        let degraded = engines.degraded;
        let (speech_to_text, text_to_speech) = (engines.speech_to_text, engines.text_to_speech);
        let ears = Worker::start("ears", move || Ears::new(speech_to_text))?;
        let second_hearing = engines.second_hearing.map(Ears::on_demand);
        let scribe = second_hearing.map(|ears| Worker::start("scribe", move || ears)).transpose()?;
        let mouth = Worker::start("mouth", move || text_to_speech)?;
        let tools = Arc::new(ToolBox::start(&config.mcp_servers));
        let knowledge = Knowledge::new(storage.clone());
        let (mind, educated) =
            education::start(&config, engines.embedding, knowledge.clone(), &office, Arc::clone(&tools))?;
        let persona = Arc::new(Persona::new(&config.persona));
        let answerer = answerer(&config, &persona, mind.queue())?;
        let speaker = Speaker::new(mouth.queue());
        render_ahead(&speaker, &office, &persona);
        let learnt = educated.await.context("the mind worker stopped")??;
        let knowledge_watch = education::go_on(&config, learnt, knowledge.clone(), mind.queue())?;

        let gate = SharedGate::new(origins(&config));
        bans::restore(&gate, &config.state_directory());
        let follower = Follower::start(&config).await;
        let own_address = follower.own_address();
        let (sip, events) = listen(&config, &gate, &own_address, tls).await?;
        let reached = own_address.reached();
        sip.with(move |endpoint, _| advertise(endpoint, reached)).await?;
        let address = tokio::spawn(follow(follower, sip.clone()));
        let bans = tokio::spawn(bans::follow(gate.clone(), config.state_directory()));
        let media = MediaHandle::start()?;
        let ports = PortPool::new(config.sip.address, config.media.first_port, config.media.last_port);
        let settings = conversation_settings(&config);
        let tones = Tones::of(office.country);
        let minutes = minutes_of_today(&storage, office.time_zone())?;
        let up = CallsUp::default();
        let monitor = config.local_audio.monitor_device.clone();
        let monitor = monitor.map(|device| tokio::spawn(monitor::run(up.clone(), device)));
        let bell = Bell::default();
        let (switchboard, call_backs) = Switchboard::new(up.clone(), &config);
        let desk = Desk { storage: storage.clone(), staff: staff.clone(), switchboard, bell: bell.clone() };
        let api = match config.api.enabled {
            true => {
                let sources = Sources { knowledge, storage: storage.clone(), office: Arc::clone(&office) };
                let outside = outside(&config, &staff, (&storage, &audio_files), &bell).await?;
                let (calls, desk, files) = (up.clone(), desk.clone(), audio_files.clone());
                Some(Api::start(&config.api, Inside { calls, desk, files, sources }, outside).await?)
            }
            false => None,
        };
        let scribe_queue = scribe.as_ref().unwrap_or(&ears).queue();
        let hearing = (scribe_queue, abilities.speech_to_text || scribe.is_some());
        let second = scribe.as_ref().map(|scribe| SecondHearing::start(scribe.queue(), storage.clone(), up.clone()));
        let (second_hearing, heard_again) = second.unzip();
        let rehearsal = rehearsal::start(speaker.clone(), storage.clone(), Arc::clone(&office), up.clone());
        let errands = Errands::start(&config, &audio_files, hearing, desk).await?;
        let calls = up.clone();
        let (files, staff_of_post, line) = (audio_files.clone(), staff.clone(), Arc::new(move || calls.line()));
        let post = Post { files, staff: staff_of_post, bell: bell.clone(), line };
        let cloud = CloudSync::start(&config, &storage, up.clone(), post);
        let backups = Backups::start(&config, up.clone());
        let calls = up.clone();
        let uploads = Uploads::start(&config, &storage, &audio_files, move || calls.line());
        let staff_follows = tokio::spawn(follow_staff(staff.clone(), storage.clone(), bell.clone(), mind.queue()));
        let services = Arc::new(Services {
            bell,
            office,
            staff,
            settings,
            abilities,
            sip: sip.clone(),
            address: own_address,
            legs: Legs::default(),
            bridges: Bridges::default(),
            up,
            lamps: Lamps::default(),
            diversions,
            pickups: Pickups::default(),
            lines: Lines::default(),
            phones: Phones::new(&config, gate.clone(), registrar, Instant::now()),
            gate,
            carriers,
            trunk_watch: TrunkWatch::default(),
            outbound: Places::default(),
            minutes,
            attended: Places::default(),
            pins: Pins::new(&config.state_directory()),
            pin_tries: Default::default(),
            paging: Places::default(),
            hold_music,
            tones,
            media,
            ports: ports.clone(),
            storage: storage.clone(),
            audio_files,
            speaker,
            ears: ears.queue(),
            second_hearing,
            answerer,
            persona,
            tools: Arc::clone(&tools),
            voice_activity: engines.voice_activity,
            config,
        });
        learn_tools(Arc::clone(&tools), mind.queue());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve_desk(Arc::clone(&services), call_backs, stopped.clone()));
        let router = tokio::spawn(Router::new(services).run(events, stopped));
        Ok(Service {
            sip,
            ports,
            tools,
            storage,
            stop,
            router,
            address,
            bans,
            staff: staff_follows,
            monitor,
            rehearsal,
            heard_again,
            errands,
            cloud,
            backups,
            uploads,
            api,
            degraded,
            knowledge_watch,
            _ears: ears,
            _scribe: scribe,
            _mind: mind,
            _mouth: mouth,
        })
    }

    /// Where SIP is listened to.
    pub fn address(&self) -> SocketAddr {
        self.sip.local()
    }

    /// Where SIP over TLS is listened to, if it is.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.sip.tls()
    }

    /// Where the HTTP interface is, if it is served.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(Api::address)
    }

    /// What is missing and what that means for callers; empty when all is well.
    pub fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// RTP ports in use: zero when no call is up.
    pub fn ports_in_use(&self) -> usize {
        self.ports.lent_count()
    }

    /// Tools of other programs.
    pub fn tools(&self) -> &ToolBox {
        &self.tools
    }

    /// Set once the cloud wants the box to start anew, with what it has decided.
    pub fn restart(&self) -> watch::Receiver<bool> {
        self.cloud.restart()
    }

    /// Whether the signalling task still does its work; for the watchdog.
    pub async fn is_alive(&self) -> bool {
        !self.router.is_finished() && self.sip.with(|_, _| ()).await.is_ok()
    }

    /// Refuses new calls, lets the others finish for the configured time, and closes the database.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.knowledge_watch);
        self.address.abort();
        self.bans.abort();
        self.rehearsal.abort();
        if let Some(heard_again) = self.heard_again {
            heard_again.abort();
        }
        self.staff.abort();
        if let Some(monitor) = self.monitor {
            monitor.abort();
        }
        if let Err(error) = self.router.await {
            warn!(%error, "Router ended badly");
        }
        if let Some(api) = self.api {
            api.stop().await;
        }
        self.errands.stop().await;
        self.cloud.stop();
        self.backups.stop();
        self.uploads.stop();
        self.storage.close().await;
        info!("Stopped");
    }
}

/// Whoever was imported or is away is known to the attendant at once.
async fn follow_staff(staff: Staff, storage: Storage, bell: Bell, mind: Queue<Mind>) {
    let tell = |office: Arc<Office>| {
        if mind.submit(Priority::Live, move |mind| mind.meet(office)).is_err() {
            warn!("The attendant learns of the office's people with their next change only");
        }
    };
    staff.follow(storage, bell.ear(), tell).await;
}

/// Contacts name the address that the follower finds.
async fn follow(follower: Follower, sip: SipHandle) {
    let tell = |reached: Reached| {
        let sip = sip.clone();
        async move {
            // Without a shell there is nobody to tell.
            let _ = sip.with(move |endpoint, _| advertise(endpoint, reached)).await;
        }
    };
    follower.run(tell).await;
}

fn advertise(endpoint: &mut Endpoint, reached: Reached) {
    endpoint.set_advertised(&Host::from(reached.outside()));
    endpoint.set_advertised_inside(reached.inside().map(Host::from));
}

/// What is reached from outside of the office.
async fn outside(
    config: &Config,
    staff: &Staff,
    (storage, files): (&Storage, &AudioFiles),
    bell: &Bell,
) -> anyhow::Result<Outside> {
    let (config, staff, bell) = (config.clone(), staff.clone(), bell.clone());
    let (storage, files) = (storage.clone(), files.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let composer = Composer::open(&config, staff.office())?;
        let callbacks = Callbacks::open(&config.sms, storage.clone(), staff, bell.clone())?;
        let pages = composer.links.clone().map(|links| Pages { links, composer, storage, files, bell });
        Ok(Outside { pages, callbacks })
    });
    opened.await?
}

async fn open_storage(config: &Config) -> anyhow::Result<(Storage, AudioFiles)> {
    let (config, folder) = (config.clone(), config.state_directory());
    tokio::task::spawn_blocking(move || {
        let opened = Storage::open(&StorageConfig::new(&folder))
            .with_context(|| format!("the state folder {} cannot be used", folder.display()))?;
        if let Some(aside) = &opened.set_aside {
            warn!(kept_as = %aside.path.display(), "The database was damaged; it is kept aside and a fresh one begun");
        }
        let files = AudioFiles::open(&folder, Arc::new(PlainWav))?;
        recover(&config, &opened.storage, &files)?;
        Ok((opened.storage, files))
    })
    .await?
}

/// The phones that were registered when the last run ended.
async fn restore(storage: &Storage) -> anyhow::Result<Registrar> {
    let (now, unix_now) = (Instant::now(), UnixMs::now());
    Ok(storage.read(move |db| restore_registrations(db, now, unix_now)).await?)
}

/// Who may speak to the SIP port.
fn origins(config: &Config) -> Origins {
    let trunks = config.trunks.iter().map(|trunk| trunk.sources.clone()).collect();
    // Without extensions there are no phones, and nobody has to be asked for a password.
    let phones = if config.extensions.is_empty() { Vec::new() } else { config.sip.phone_networks.clone() };
    Origins::new(trunks, phones, config.sip.guests.clone())
}

/// What a dead process left: open sessions become `interrupted`, unfinished recordings are finished.
fn recover(config: &Config, storage: &Storage, files: &AudioFiles) -> anyhow::Result<()> {
    let now = UnixMs::now();
    let mailboxes: Vec<String> = config.mailboxes.iter().map(|mailbox| mailbox.name.clone()).collect();
    let (interrupted, orphans) = storage.write_blocking(move |sql_tx| {
        forget_trunk_states(sql_tx)?;
        let orphans = close_mailboxes(sql_tx, &mailboxes, now)?;
        Ok((close_interrupted_sessions(sql_tx, now)?, orphans))
    })?;
    if orphans > 0 {
        warn!(messages = orphans, "Messages of mailboxes that there are no more are the office's now");
    }
    let saved = files.recover(storage, now)?;
    if interrupted > 0 || !saved.is_empty() {
        warn!(calls = interrupted, recordings = saved.len(), "The last run ended without a stop; its calls are closed");
    }
    Ok(())
}

/// What phones have talked outside since midnight in the office.
fn minutes_of_today(storage: &Storage, zone: &TimeZone) -> anyhow::Result<Minutes> {
    let now = jiff::Zoned::now().with_time_zone(zone.clone());
    let midnight = UnixMs(now.start_of_day()?.timestamp().as_millisecond());
    let talked = storage.read_blocking(|db| talked_outside_ms(db, midnight))?;
    Ok(Minutes::after(now.date(), Duration::from_millis(talked)))
}

/// Who chooses what is said.
fn answerer(config: &Config, persona: &Arc<Persona>, mind: Queue<Mind>) -> anyhow::Result<Arc<dyn Answerer>> {
    let built_in = Arc::new(BuiltIn::new(mind));
    let inner: Arc<dyn Answerer> = if config.language_model.enabled {
        info!(model = config.language_model.model, "A language model finds words for answers");
        Arc::new(WithLanguageModel::new(&config.language_model, &config.persona, built_in)?)
    } else {
        built_in
    };
    Ok(Arc::new(InCharacter::new(inner, Arc::clone(persona))))
}

/// Renders what every call needs before the first one comes: the greeting first.
fn render_ahead(speaker: &Speaker, office: &Office, persona: &Persona) {
    let greetings = persona.greetings(office, &jiff::Zoned::now());
    let own = std::iter::once(office.disclosure.as_str()).chain(greetings.iter().map(String::as_str));
    for text in own.chain(phrases::ALL.iter().copied()) {
        for sentence in crate::conversation::speakable(text) {
            speaker.render(&sentence, Priority::Background, |_| {});
        }
    }
    speaker.rest();
}

async fn listen(
    config: &Config,
    gate: &SharedGate,
    own_address: &OwnAddress,
    tls: Option<sip::Tls>,
) -> anyhow::Result<(SipHandle, tokio::sync::mpsc::Receiver<sip_stack::endpoint::Event>)> {
    let listen = SocketAddr::new(config.sip.address, config.sip.port);
    let advertised = own_address.outside();
    let retry_after = config.calls.retry_after_seconds;
    // What comes beyond the calls we take is refused by the endpoint itself, without keeping state.
    let most_calls = usize::try_from(config.calls.concurrent_limit).unwrap_or(usize::MAX).saturating_add(REFUSED_CALLS);
    let shell = SipConfig { listen, tcp_enabled: config.sip.tcp_enabled, tls, trace: None, gate: gate.clone() };
    sip::start(shell, |bound| {
        let local = |socket: SocketAddr| LocalAddress {
            socket,
            advertised: HostPort::from(SocketAddr::new(advertised, socket.port())),
        };
        EndpointConfig {
            udp: local(bound.sip),
            tcp: local(bound.sip),
            tls: local(bound.tls.unwrap_or(bound.sip)),
            contact_user: "office".into(),
            accepted: vec![Method::Register, Method::Refer],
            packages: PACKAGES.map(str::to_owned).to_vec(),
            product: concat!("Offhook/", env!("CARGO_PKG_VERSION")).into(),
            limits: EndpointLimits { calls: most_calls, ..EndpointLimits::default() },
            overload_retry_after_seconds: retry_after,
            urgent: crate::dial_plan::emergency_users(&config.outbound),
            ..EndpointConfig::new(bound.sip, rand::random())
        }
    })
    .await
    .with_context(|| {
        format!(
            "SIP cannot be served; `offhook doctor` says who uses port {}, --set sip.port=5070 chooses another",
            listen.port()
        )
    })
}

fn conversation_settings(config: &Config) -> Settings {
    let seconds = |value: u32| Duration::from_secs(value.into());
    Settings {
        silence: seconds(config.conversation.no_speech_seconds),
        message_max: seconds(config.conversation.message_limit_seconds),
        message_silence: seconds(config.conversation.message_silence_seconds),
        max_call: seconds(config.conversation.call_limit_seconds),
        asks_for_rating: config.conversation.rating_enabled,
        ..Settings::default()
    }
}
