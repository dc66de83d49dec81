//! libnftables by `dlopen`: nine functions with C's calling convention and opaque pointers.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    fs::File,
    io::Write,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::OnceLock,
};

use nix::libc;
use parking_lot::Mutex;

const NAME: &CStr = c"libnftables.so.1";
/// Listings with numbers for protocols, priorities, symbols and times, and without the figures of counters.
const LISTING: c_uint = (1 << 2) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10);

/// The library keeps some of its state, such as that of its parser, outside its contexts.
static RUNNING: Mutex<()> = Mutex::new(());

type New = unsafe extern "C" fn(u32) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type SetFlags = unsafe extern "C" fn(*mut c_void, c_uint);
type Buffer = unsafe extern "C" fn(*mut c_void) -> c_int;
type Text = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type Run = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;

/// The functions that are used.
pub(super) struct Library {
    new: New,
    free: Free,
    set_flags: SetFlags,
    buffer_output: Buffer,
    buffer_error: Buffer,
    output: Text,
    error: Text,
    run: Run,
    run_file: Run,
}

/// What rules of one namespace are read and written through.
pub(super) struct Context {
    library: &'static Library,
    pointer: *mut c_void,
}

// SAFETY: a context is bound to no thread: it holds memory and a socket. `RUNNING` keeps two from working at once.
#[allow(unsafe_code)]
unsafe impl Send for Context {}

impl Library {
    /// The library, loaded on the first call; it is never unloaded.
    pub(super) fn get() -> Option<&'static Self> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        LIBRARY.get_or_init(Self::load).as_ref()
    }

    #[allow(unsafe_code)]
    fn load() -> Option<Self> {
        // SAFETY: the name is a C string; loading runs the library's constructors, which touch nothing of ours.
        let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return None;
        }
        let symbol = |name: &CStr| {
            // SAFETY: the handle is of an open library and the name is a C string.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
            (!address.is_null()).then_some(address)
        };
        // SAFETY: version 1 of the library's interface declares these functions with exactly these types.
        unsafe {
            Some(Self {
                new: std::mem::transmute::<*mut c_void, New>(symbol(c"nft_ctx_new")?),
                free: std::mem::transmute::<*mut c_void, Free>(symbol(c"nft_ctx_free")?),
                set_flags: std::mem::transmute::<*mut c_void, SetFlags>(symbol(c"nft_ctx_output_set_flags")?),
                buffer_output: std::mem::transmute::<*mut c_void, Buffer>(symbol(c"nft_ctx_buffer_output")?),
                buffer_error: std::mem::transmute::<*mut c_void, Buffer>(symbol(c"nft_ctx_buffer_error")?),
                output: std::mem::transmute::<*mut c_void, Text>(symbol(c"nft_ctx_get_output_buffer")?),
                error: std::mem::transmute::<*mut c_void, Text>(symbol(c"nft_ctx_get_error_buffer")?),
                run: std::mem::transmute::<*mut c_void, Run>(symbol(c"nft_run_cmd_from_buffer")?),
                run_file: std::mem::transmute::<*mut c_void, Run>(symbol(c"nft_run_cmd_from_filename")?),
            })
        }
    }

    /// A context in the namespace of the calling thread.
    #[allow(unsafe_code)]
    pub(super) fn context(&'static self) -> Option<Context> {
        let _one_at_a_time = RUNNING.lock();
        // SAFETY: 0 asks for the defaults; the pointer is checked and from then on owned by the context.
        unsafe {
            let pointer = (self.new)(0);
            if pointer.is_null() {
                return None;
            }
            let context = Context { library: self, pointer };
            (self.set_flags)(pointer, LISTING);
            let buffered = (self.buffer_output)(pointer) == 0 && (self.buffer_error)(pointer) == 0;
            buffered.then_some(context)
        }
    }
}

impl Context {
    /// Runs a script. What it printed, or what the library reported.
    pub(super) fn run(&mut self, script: &str) -> Result<String, String> {
        let text = |text: &str| CString::new(text).map_err(|_| "Error: a script cannot contain NUL".to_owned());
        if script.trim_end().contains('\n') {
            // Of a text in memory the library reports errors at the wrong line.
            let file = memory_file(script).map_err(|error| format!("Error: cannot hold the script: {error}"))?;
            return self.call(self.library.run_file, &text(&format!("/proc/self/fd/{}", file.as_raw_fd()))?);
        }
        self.call(self.library.run, &text(script)?)
    }

    #[allow(unsafe_code)]
    fn call(&mut self, run: Run, argument: &CStr) -> Result<String, String> {
        let _one_at_a_time = RUNNING.lock();
        // SAFETY: the context lives, the argument is a C string, and both buffers are C strings of the context's that
        // stay as they are until its next use, which `&mut self` keeps away; they are copied before that.
        unsafe {
            let result = run(self.pointer, argument.as_ptr());
            let text = if result == 0 { self.library.output } else { self.library.error };
            let text = text(self.pointer);
            let text = if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
            if result == 0 { Ok(text) } else { Err(text) }
        }
    }
}

/// A file without a name.
#[allow(unsafe_code)]
fn memory_file(text: &str) -> std::io::Result<File> {
    // SAFETY: the name is a C string, and a descriptor that is not negative is new and nobody else's.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"nft".as_ptr(), libc::MFD_CLOEXEC);
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        File::from(OwnedFd::from_raw_fd(descriptor))
    };
    file.write_all(text.as_bytes())?;
    Ok(file)
}

impl Drop for Context {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let _one_at_a_time = RUNNING.lock();
        // SAFETY: the pointer came from the library and nothing uses it after this.
        unsafe { (self.library.free)(self.pointer) }
    }
}
