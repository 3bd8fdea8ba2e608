//! The sound of many callers on one socket: each sends 20 ms of G.711 every 20 ms to wherever it is spoken to from, and
//! notes when the kernel took each packet of the other side, whatever this process was doing at that moment. Which 20 ms they
//! are is seen in the sound itself, as long as it comes unchanged: so two who talk through the box tell how long it takes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use audio::FRAME_DURATION;
use audio::codec::CodecKind;
use audio::rtp::srtp::{MasterKey, Outbound};

/// One payload; they differ, as in speech.
const PAYLOAD_BYTES: usize = 160;
/// Different payloads before they begin again: 10 s.
const PAYLOADS: usize = 500;
const HEADER_BYTES: usize = 12;
/// Room for all that a burst of 500 streams brings.
const SOCKET_BYTES: usize = 4 << 20;

type Payload = [u8; PAYLOAD_BYTES];

/// See the module. Ends when dropped.
pub struct Talkers {
    address: SocketAddr,
    heard: Arc<Mutex<HashMap<SocketAddr, Vec<Arrival>>>>,
    said: Arc<Mutex<Vec<Said>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// When a packet came. Nanoseconds of the kernel's wall clock.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    sequence: u16,
    at_ns: i64,
    /// Which of the payloads, if it is one of ours.
    payload: Option<usize>,
}

/// When the first of them said a payload, in order.
#[derive(Debug, Clone, Copy)]
struct Said {
    payload: usize,
    at_ns: i64,
}

/// How evenly streams were sent.
#[derive(Debug, Clone, Default)]
pub struct Evenness {
    /// Streams that came.
    pub streams: usize,
    /// Packets of all of them.
    pub packets: usize,
    /// Sequence numbers that did not come.
    pub missing: usize,
    /// Packets a whole interval or more behind the grid of their stream.
    pub late: usize,
    /// How far each packet is from the grid of its stream, in order. Milliseconds.
    off_grid_ms: Vec<f64>,
}

impl Evenness {
    /// What this share of the packets did not exceed. Milliseconds; infinite without packets.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let index = (self.off_grid_ms.len() as f64 * share) as usize;
        self.off_grid_ms.get(index).or(self.off_grid_ms.last()).copied().unwrap_or(f64::INFINITY)
    }
}

impl Talkers {
    /// Callers at `address`, who begin to speak when they are spoken to; with `key`, in SRTP.
    ///
    /// # Panics
    /// When the address is not free.
    pub fn start(address: Ipv4Addr, key: Option<MasterKey>) -> Talkers {
        Talkers::with(address, key, Vec::new())
    }

    /// Callers at `address` who speak from the beginning, each to one of `targets`.
    ///
    /// # Panics
    /// As [`start`](Talkers::start).
    pub fn speaking_to(address: Ipv4Addr, targets: Vec<SocketAddr>) -> Talkers {
        Talkers::with(address, None, targets)
    }

    fn with(address: Ipv4Addr, key: Option<MasterKey>, targets: Vec<SocketAddr>) -> Talkers {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BYTES).unwrap();
        let address = socket.local_addr().unwrap();
        take_times(&socket);
        let (heard, said, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let voices = targets.into_iter().map(|target| Voice::new(target, key.as_ref())).collect();
        let payloads = speech();
        let numbers = payloads.iter().enumerate().map(|(number, payload)| (*payload, number)).collect();
        let mut exchange = Exchange {
            socket,
            heard: Arc::clone(&heard),
            said: Arc::clone(&said),
            stop: Arc::clone(&stop),
            key,
            voices,
            payloads,
            numbers,
        };
        let thread = Some(std::thread::spawn(move || exchange.run()));
        Talkers { address, heard, said, stop, thread }
    }

    /// Where they are spoken to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many streams came since the last [`forget`](Talkers::forget).
    pub fn streams(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|came| !came.is_empty()).count()
    }

    /// Notes begin anew.
    pub fn forget(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).values_mut().for_each(Vec::clear);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How long each 20 ms took from `others`, of whom there must be one, to here, in order. Milliseconds.
    pub fn delays_ms(&self, others: &Talkers) -> Vec<f64> {
        let said = others.said.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let delay = |arrival: &Arrival| {
            let last = said.partition_point(|said| said.at_ns <= arrival.at_ns);
            let said = said[..last].iter().rev().take(PAYLOADS).find(|said| Some(said.payload) == arrival.payload)?;
            Some((arrival.at_ns - said.at_ns) as f64 / 1e6)
        };
        let mut delays: Vec<f64> = heard.values().flatten().filter_map(delay).collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// How evenly what came since then was sent.
    pub fn evenness(&self) -> Evenness {
        let mut evenness = Evenness::default();
        for stream in self.heard.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|came| came.len() > 1) {
            evenness.add(stream);
        }
        evenness.off_grid_ms.sort_by(f64::total_cmp);
        evenness
    }
}

impl Evenness {
    fn add(&mut self, stream: &[Arrival]) {
        let first = stream[0];
        let interval_ns = FRAME_DURATION.as_nanos() as i64;
        let mut offsets: Vec<i64> = Vec::with_capacity(stream.len());
        for arrival in stream {
            // No stream is watched for the 21 minutes in which its sequence goes round.
            let index = i64::from(arrival.sequence.wrapping_sub(first.sequence));
            offsets.push(arrival.at_ns - first.at_ns - index * interval_ns);
        }
        let span = usize::from(stream[stream.len() - 1].sequence.wrapping_sub(first.sequence)) + 1;
        self.streams += 1;
        self.packets += stream.len();
        self.missing += span.saturating_sub(stream.len());
        let mut sorted = offsets.clone();
        sorted.sort_unstable();
        let grid = sorted[sorted.len() / 2];
        self.late += offsets.iter().filter(|offset| **offset - grid >= interval_ns).count();
        self.off_grid_ms.extend(offsets.iter().map(|offset| (offset - grid).abs() as f64 / 1e6));
    }
}

impl Drop for Talkers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One caller.
struct Voice {
    target: SocketAddr,
    sequence: u16,
    security: Option<Outbound>,
    datagram: Vec<u8>,
}

struct Exchange {
    socket: UdpSocket,
    heard: Arc<Mutex<HashMap<SocketAddr, Vec<Arrival>>>>,
    stop: Arc<AtomicBool>,
    key: Option<MasterKey>,
    voices: Vec<Voice>,
    said: Arc<Mutex<Vec<Said>>>,
    payloads: Vec<Payload>,
    numbers: HashMap<Payload, usize>,
}

impl Voice {
    fn new(target: SocketAddr, key: Option<&MasterKey>) -> Voice {
        Voice { target, sequence: 0, security: key.map(Outbound::new), datagram: Vec::with_capacity(300) }
    }

    /// Says the next 20 ms, and which they were.
    fn speak(&mut self, socket: &UdpSocket, payloads: &[Payload]) -> usize {
        self.sequence = self.sequence.wrapping_add(1);
        let timestamp = u32::from(self.sequence) * PAYLOAD_BYTES as u32;
        self.datagram.clear();
        self.datagram.extend([0x80, 0]);
        self.datagram.extend(self.sequence.to_be_bytes());
        self.datagram.extend(timestamp.to_be_bytes());
        self.datagram.extend(u32::from(self.target.port()).to_be_bytes());
        let number = (usize::from(self.sequence) + usize::from(self.target.port())) % PAYLOADS;
        self.datagram.extend(payloads[number]);
        if let Some(security) = &mut self.security {
            security.protect_rtp(&mut self.datagram).unwrap();
        }
        // Nobody there yet, or not any more.
        let _ = socket.send_to(&self.datagram, self.target);
        number
    }
}

impl Exchange {
    fn run(&mut self) {
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            for (index, voice) in self.voices.iter_mut().enumerate() {
                let at_ns = now_ns();
                let payload = voice.speak(&self.socket, &self.payloads);
                if index == 0 {
                    self.said.lock().unwrap_or_else(PoisonError::into_inner).push(Said { payload, at_ns });
                }
            }
            next += FRAME_DURATION;
            loop {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                self.hear(left);
            }
        }
    }

    /// Notes the next packet, if one comes in that time.
    fn hear(&mut self, limit: Duration) {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_micros(50)))).unwrap();
        let Some((source, arrival)) = receive(&self.socket, &self.numbers) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let came = heard.entry(source).or_insert_with(|| {
            if !self.voices.iter().any(|voice| voice.target == source) {
                self.voices.push(Voice::new(source, self.key.as_ref()));
            }
            Vec::new()
        });
        came.push(arrival);
    }
}

/// G.711 of syllables and pauses, as loud as somebody who speaks.
fn speech() -> Vec<Payload> {
    let (mut encoder, mut decoder) = (CodecKind::Pcmu.encoder(), CodecKind::Pcmu.decoder());
    let mut noise = 1_u32;
    (0..PAYLOADS)
        .map(|index| {
            let loudness = if index % 100 < 70 { (index as f64 * 0.5).sin().abs() * 6_000.0 } else { 20.0 };
            let samples: Vec<i16> = (0..PAYLOAD_BYTES)
                .map(|at| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let voice = ((index * PAYLOAD_BYTES + at) as f64 * 0.1).sin();
                    (loudness * (voice + f64::from(noise >> 16) / 262_144.0)) as i16
                })
                .collect();
            // Once more: there are two zeros, and only one of them comes out of the box as it went in.
            let (mut first, mut decoded, mut payload) = (Vec::new(), Vec::new(), Vec::new());
            encoder.encode(&samples, &mut first);
            decoder.decode(&first, &mut decoded);
            encoder.encode(&decoded, &mut payload);
            payload.try_into().unwrap()
        })
        .collect()
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

/// Has the kernel tell when it took each datagram.
fn take_times(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    #[expect(unsafe_code, reason = "no safe wrapper for SO_TIMESTAMPNS among our dependencies")]
    // SAFETY: the option is an int, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            std::ptr::from_ref(&on).cast(),
            size,
        )
    };
    assert_eq!(result, 0, "the kernel takes no times");
}

/// The next datagram's source, sequence number and time. `None` when none comes in time, or it is not RTP.
fn receive(socket: &UdpSocket, numbers: &HashMap<Payload, usize>) -> Option<(SocketAddr, Arrival)> {
    let mut datagram = [0_u8; 2_048];
    let mut control = [0_u64; 16];
    #[expect(unsafe_code, reason = "no safe wrapper for times of datagrams among our dependencies")]
    // SAFETY: all that `message` points to lives through the calls, with its true sizes; the control buffer is aligned
    // for its headers; the pointer of a header is asked for only from what the kernel has filled in.
    let (length, name, time) = unsafe {
        let mut name: libc::sockaddr_in = std::mem::zeroed();
        let mut part = libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = std::ptr::from_mut(&mut name).cast();
        message.msg_namelen = size_of_val(&name) as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let is_time = length >= 0 && !header.is_null() && (*header).cmsg_type == libc::SCM_TIMESTAMPNS;
        (length, name, is_time.then(|| libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned()))
    };
    let (time, length) = (time?, usize::try_from(length).ok()?);
    let source = SocketAddrV4::new(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)), u16::from_be(name.sin_port));
    let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
    let at_ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let payload = datagram[HEADER_BYTES..].first_chunk().and_then(|payload| numbers.get(payload).copied());
    (length > HEADER_BYTES).then_some((source.into(), Arrival { sequence, at_ns, payload }))
}
