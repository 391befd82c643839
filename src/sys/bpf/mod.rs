//! bpf(2) without a library and without clang: maps, programs and links, each an owned descriptor that is gone when it is closed.
//!
//! Nothing is pinned, so whatever ends the process, SIGKILL included, takes its programs off the network again. Programs are written
//! with [`Assembler`]. Attribute layouts are those of `union bpf_attr` in linux/bpf.h (bpf(2)).

mod assembler;

use std::ffi::c_long;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::Mapping;
pub use assembler::{Alu, Assembler, Instruction, Label, Reg, Size, Test};

/// `enum bpf_cmd`.
const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const PROG_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;

/// Room for what the verifier has to say of a program that it refuses.
const LOG_BYTES: usize = 64 << 10;
/// The verifier gives up with EAGAIN when a signal is pending.
const LOAD_TRIES: u32 = 5;

/// What the kernel refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BpfError {
    /// What was asked: `map create`, `prog load`, ...
    pub call: &'static str,
    /// Why, as `std::io::Error::from_raw_os_error` takes it.
    pub errno: i32,
    /// What the verifier says, if it was asked; else empty.
    pub log: String,
}

impl fmt::Display for BpfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bpf({}) failed: {}", self.call, io::Error::from_raw_os_error(self.errno))?;
        if self.log.is_empty() { Ok(()) } else { write!(f, "; the verifier says: {}", self.log.trim_end()) }
    }
}

impl std::error::Error for BpfError {}

/// Kinds of maps (`enum bpf_map_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// Values by index, there from the start.
    Array = 2,
    /// The same, of each core.
    PerCpuArray = 6,
    /// Sockets by index.
    SockMap = 15,
}

/// Kinds of programs (`enum bpf_prog_type`), as far as they are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ProgramKind {
    /// On what a socket receives (`struct __sk_buff`).
    SocketFilter = 1,
    /// On packets that enter or leave an interface (`struct __sk_buff`).
    SchedCls = 3,
    /// On the search for the socket of a packet (`struct bpf_sk_lookup`), Linux 5.9.
    SkLookup = 30,
}

/// Where a program is attached (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Attach {
    /// A socket's own options do it.
    Socket = 0,
    /// A network namespace's search for sockets, Linux 5.9.
    SkLookup = 36,
    /// What enters an interface, Linux 6.6.
    TcxIngress = 46,
}

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_BEFORE`: with nothing said of what, first of all.
const FIRST: u32 = 1 << 3;
/// More than any kernel is built for (`NR_CPUS`).
const CORES_MAX: usize = 8192;

/// What a link attaches to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A descriptor: of a network namespace, for example.
    Descriptor(BorrowedFd<'a>),
    /// An interface by its index.
    Interface(u32),
}

/// A map. Keys and values are bytes of the sizes it was made for.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
    entries: u32,
}

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Map {
    /// A map of `entries`. `name` is for whoever lists maps: at most 15 letters, digits, `_` and `.`.
    ///
    /// # Errors
    /// It is not permitted (CAP_BPF, seccomp), or the kernel does not know the kind.
    pub fn new(
        kind: MapKind,
        key_bytes: usize,
        value_bytes: usize,
        entries: u32,
        name: &str,
    ) -> Result<Map, BpfError> {
        Map::create(kind, (key_bytes, value_bytes), entries, 0, name)
    }

    /// An array of 64-bit words that can be written as memory ([`Map::words`]), Linux 5.5.
    ///
    /// # Errors
    /// As for [`Map::new`].
    pub fn words_of(words: u32, name: &str) -> Result<Map, BpfError> {
        Map::create(MapKind::Array, (4, 8), words, MMAPABLE, name)
    }

    fn create(
        kind: MapKind,
        (key_bytes, value_bytes): (usize, usize),
        entries: u32,
        flags: u32,
        name: &str,
    ) -> Result<Map, BpfError> {
        let attributes = MapCreate {
            kind: kind as u32,
            key_size: key_bytes as u32,
            value_size: value_bytes as u32,
            max_entries: entries,
            flags,
            inner_map_fd: 0,
            numa_node: 0,
            name: object_name(name),
        };
        // SAFETY: the attributes hold no pointers.
        let fd = unsafe { bpf_fd("map create", MAP_CREATE, &attributes)? };
        Ok(Map { fd, key_bytes, value_bytes, entries })
    }

    /// Writes one value.
    ///
    /// # Errors
    /// The key is out of range, or the value is a socket that such a map does not take.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), BpfError> {
        assert_eq!((key.len(), value.len()), (self.key_bytes, self.value_bytes), "sizes as created");
        self.element("map update", MAP_UPDATE_ELEM, key, value.as_ptr() as u64)
    }

    /// Removes one value.
    ///
    /// # Errors
    /// There is none, or the kind of map does not let go of any.
    pub fn delete(&self, key: &[u8]) -> Result<(), BpfError> {
        assert_eq!(key.len(), self.key_bytes, "size as created");
        self.element("map delete", MAP_DELETE_ELEM, key, 0)
    }

    /// Reads one value into `value`, which for a map of each core has to hold all of them.
    ///
    /// # Errors
    /// There is none.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), BpfError> {
        assert!(key.len() == self.key_bytes && value.len() >= self.value_bytes, "sizes as created");
        self.element("map lookup", MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64)
    }

    /// The memory of a map made by [`Map::words_of`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn words(&self) -> io::Result<Words> {
        let memory = Mapping::shared(self.fd.as_fd(), self.entries as usize * size_of::<u64>())?;
        Ok(Words { memory, count: self.entries as usize })
    }

    /// The words of each core of a [`MapKind::PerCpuArray`] at `index`.
    ///
    /// # Errors
    /// There is none.
    pub fn of_each_core(&self, index: u32) -> Result<Vec<u64>, BpfError> {
        let mut bytes = vec![[0; size_of::<u64>()]; possible_cores()];
        self.lookup(&index.to_ne_bytes(), bytes.as_flattened_mut())?;
        Ok(bytes.into_iter().map(u64::from_ne_bytes).collect())
    }

    fn element(&self, call: &'static str, command: u32, key: &[u8], value: u64) -> Result<(), BpfError> {
        let map_fd = self.fd.as_raw_fd() as u32;
        let attributes = MapElement { map_fd, _pad: 0, key: key.as_ptr() as u64, value, flags: 0 };
        // SAFETY: key and value live through the call and are as long as the map was made for (asserted by the callers).
        unsafe { bpf(call, command, &attributes).map(drop) }
    }

    fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// A map as memory: what is stored is what programs see next.
pub struct Words {
    memory: Mapping,
    count: usize,
}

impl Words {
    /// Stores one word.
    ///
    /// # Panics
    /// If there is none at `index`.
    pub fn set(&self, index: usize, value: u64) {
        assert!(index < self.count, "no word {index}");
        // SAFETY: an aligned word in the mapping by the assertion; programs and other mappings access it as a whole.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().cast::<u64>().add(index)) }
            .store(value, Ordering::Release);
    }
}

/// Cores that the kernel keeps a value for: all that could ever be there.
fn possible_cores() -> usize {
    let said = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = said.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    // Too many do no harm, too few would be written past.
    last.map_or(CORES_MAX, |last| last + 1)
}

/// A program that the verifier has accepted.
#[derive(Debug)]
pub struct Program(OwnedFd);

#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

impl Program {
    /// Has the kernel check and compile a program that will be attached at `attach`.
    ///
    /// # Errors
    /// It is not permitted (CAP_BPF and CAP_NET_ADMIN, seccomp), the kernel does not know the kind (EINVAL), or the verifier refuses it:
    /// then the error holds its log.
    pub fn load(
        kind: ProgramKind,
        attach: Attach,
        code: &[Instruction],
        name: &str,
    ) -> Result<Program, BpfError> {
        let mut attributes = ProgLoad {
            kind: kind as u32,
            instruction_count: code.len() as u32,
            instructions: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: object_name(name),
            interface: 0,
            expected_attach: attach as u32,
        };
        // SAFETY: code and license live through the call and are as long as said.
        let load = |attributes: &ProgLoad| unsafe { bpf_fd("prog load", PROG_LOAD, attributes) };
        let again = |error: &BpfError| error.errno == libc::EAGAIN;
        let mut loaded = load(&attributes);
        for _ in 1..LOAD_TRIES {
            if !loaded.as_ref().is_err_and(again) {
                break;
            }
            loaded = load(&attributes);
        }
        let refused = match loaded {
            Ok(fd) => return Ok(Program(fd)),
            Err(refused) => refused,
        };
        // Once more, to hear why.
        let mut log = vec![0u8; LOG_BYTES];
        (attributes.log_level, attributes.log_size, attributes.log) =
            (1, LOG_BYTES as u32, log.as_mut_ptr() as u64);
        load(&attributes).map(Program).map_err(|_| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            BpfError { log: String::from_utf8_lossy(&log[..end]).into_owned(), ..refused }
        })
    }
}

impl Program {
    /// Its descriptor as a socket option takes it.
    pub(super) fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A program attached; closing it takes the program off.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "held open")] OwnedFd);

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

impl Link {
    /// Attaches `program`.
    ///
    /// # Errors
    /// It is not permitted (CAP_NET_ADMIN), or the kernel knows no such place (EINVAL).
    pub fn attach(program: &Program, target: Target<'_>, attach: Attach) -> Result<Link, BpfError> {
        let target = match target {
            Target::Descriptor(fd) => fd.as_raw_fd() as u32,
            Target::Interface(index) => index,
        };
        let program = program.0.as_raw_fd() as u32;
        // A packet that was taken is nobody else's business.
        let flags = if attach == Attach::TcxIngress { FIRST } else { 0 };
        let attributes = LinkCreate { program, target, attach: attach as u32, flags };
        // SAFETY: the attributes hold no pointers.
        unsafe { bpf_fd("link create", LINK_CREATE, &attributes).map(Link) }
    }
}

/// A name as the kernel keeps it: cut to 15 bytes, ended by zero.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

/// The system call.
///
/// # Safety
/// Every pointer in `attributes` has to be valid for what the command does with it.
unsafe fn bpf<T>(call: &'static str, command: u32, attributes: &T) -> Result<c_long, BpfError> {
    // SAFETY: the attributes live through the call and are as long as said; for what they point to the caller answers.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if done >= 0 {
        return Ok(done);
    }
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(BpfError { call, errno, log: String::new() })
}

/// The same for commands that give a descriptor, which is closed on exec (the kernel sees to that).
///
/// # Safety
/// As for [`bpf`].
unsafe fn bpf_fd<T>(call: &'static str, command: u32, attributes: &T) -> Result<OwnedFd, BpfError> {
    // SAFETY: the caller's promise is passed on.
    let fd = unsafe { bpf(call, command, attributes)? };
    // SAFETY: just made, and known to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_holds_what_was_written_and_knows_its_end() {
        let map = Map::new(MapKind::Array, 4, 8, 3, "test").expect("these tests run as root");
        map.update(&2u32.to_ne_bytes(), &7u64.to_ne_bytes()).unwrap();
        let mut value = [0; 8];
        map.lookup(&2u32.to_ne_bytes(), &mut value).unwrap();
        assert_eq!(u64::from_ne_bytes(value), 7);
        let beyond = map.update(&3u32.to_ne_bytes(), &value).unwrap_err();
        assert_eq!((beyond.call, beyond.errno), ("map update", libc::E2BIG));
        assert_eq!(
            map.delete(&2u32.to_ne_bytes()).unwrap_err().errno,
            libc::EINVAL,
            "an array lets go of nothing"
        );
    }

    #[test]
    fn a_program_is_loaded_and_a_bad_one_is_refused_with_the_verifiers_words() {
        let mut good = Assembler::default();
        good.set(Reg::R0, 1);
        good.exit();
        Program::load(ProgramKind::SkLookup, Attach::SkLookup, &good.finish(), "test")
            .expect("these tests run as root");
        let mut bad = Assembler::default();
        bad.exit();
        let refused =
            Program::load(ProgramKind::SkLookup, Attach::SkLookup, &bad.finish(), "test").unwrap_err();
        assert!(refused.to_string().contains("R0 !read_ok"), "{refused}");
    }
}
