//! The table of functions that SQLite calls. Each relies on what SQLite promises of its arguments:
//! a file that is passed in was opened by [`open`], and a file system is the one of [`register`].

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::{Before, Disk, Operation, Refused, State};

/// An open file; behind it stands the file of the wrapped file system.
#[repr(C)]
struct Wrapped {
    base: ffi::sqlite3_file,
    state: *const State,
    /// The path; null for files that nobody finds again.
    path: *mut PathBuf,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

pub(super) fn register(disk: Disk) -> &'static State {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("faulty-disk-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.as_str()).expect("a name without zeros");
    let state: &'static State = Box::leak(Box::new(State {
        name,
        disk: Mutex::new(disk),
    }));
    // SAFETY: SQLite is initialized by the first call; the default file system is never freed, and
    // what is registered is leaked.
    unsafe {
        assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
        let wrapped = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!wrapped.is_null(), "SQLite has a file system");
        let own = c_int::try_from(size_of::<Wrapped>()).expect("a small struct");
        let vfs = ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: own + (*wrapped).szOsFile,
            mxPathname: (*wrapped).mxPathname,
            pNext: ptr::null_mut(),
            zName: c_name.into_raw(),
            pAppData: Box::into_raw(Box::new(AppData { state, wrapped })).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let registered = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0);
        assert_eq!(registered, ffi::SQLITE_OK);
    }
    state
}

struct AppData {
    state: &'static State,
    wrapped: *mut ffi::sqlite3_vfs,
}

unsafe fn app_data<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a AppData {
    unsafe { &*(*vfs).pAppData.cast::<AppData>() }
}

unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<Wrapped>().add(1).cast() }
}

/// Calls a function of the wrapped file.
macro_rules! wrapped_file {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let inner = inner($file);
        match (*(*inner).pMethods).$method {
            Some(method) => method(inner $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Calls a function of the wrapped file system.
macro_rules! wrapped_vfs {
    ($vfs:expr, $method:ident $(, $argument:expr)*) => {{
        let wrapped = app_data($vfs).wrapped;
        match (*wrapped).$method {
            Some(method) => method(wrapped $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        let app = app_data(vfs);
        (*file).pMethods = ptr::null();
        if app.state.disk().is_gone {
            return ffi::SQLITE_CANTOPEN;
        }
        let opened = wrapped_vfs!(vfs, xOpen, name, inner(file), flags, out_flags);
        if opened != ffi::SQLITE_OK {
            return opened;
        }
        let wrapped = file.cast::<Wrapped>();
        (*wrapped).state = app.state;
        (*wrapped).path = match name.is_null() {
            true => ptr::null_mut(),
            false => Box::into_raw(Box::new(path(name))),
        };
        (*file).pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe fn path(name: *const c_char) -> PathBuf {
    let name = unsafe { CStr::from_ptr(name) };
    PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let path = (*file.cast::<Wrapped>()).path;
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
        wrapped_file!(file, xClose)
    }
}

unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a State {
    unsafe { &*(*file.cast::<Wrapped>()).state }
}

unsafe fn path_of<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Path> {
    unsafe {
        (*file.cast::<Wrapped>())
            .path
            .as_ref()
            .map(PathBuf::as_path)
    }
}

/// Counts an operation on a named file; what SQLite is told if it is not done.
unsafe fn pass(
    file: *mut ffi::sqlite3_file,
    operation: Operation,
    broken: c_int,
) -> Result<Option<&'static Path>, c_int> {
    unsafe {
        let Some(path) = path_of(file) else {
            return Ok(None);
        };
        match state(file).disk().pass(operation) {
            Ok(()) => Ok(Some(path)),
            Err(Refused::Broken) => Err(broken),
            Err(Refused::Full) => Err(ffi::SQLITE_FULL),
        }
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    unsafe {
        if state(file).disk().is_gone {
            return ffi::SQLITE_IOERR_READ;
        }
        wrapped_file!(file, xRead, into, len, offset)
    }
}

/// Remembers what stands in a part of a file.
unsafe fn remember(file: *mut ffi::sqlite3_file, path: &Path, offset: i64, len: i64) -> c_int {
    unsafe {
        let mut file_len = 0;
        let measured = wrapped_file!(file, xFileSize, &raw mut file_len);
        if measured != ffi::SQLITE_OK {
            return measured;
        }
        let kept = (file_len - offset).clamp(0, len);
        let mut bytes = vec![0_u8; usize::try_from(kept).unwrap_or_default()];
        if kept > 0 {
            let len = c_int::try_from(kept).unwrap_or(c_int::MAX);
            let read = wrapped_file!(file, xRead, bytes.as_mut_ptr().cast(), len, offset);
            if read != ffi::SQLITE_OK {
                return read;
            }
        }
        let before = Before {
            offset: u64::try_from(offset).unwrap_or_default(),
            bytes,
            file_len: u64::try_from(file_len).unwrap_or_default(),
        };
        state(file).disk().remember(path, before);
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    unsafe {
        match pass(file, Operation::Write, ffi::SQLITE_IOERR_WRITE) {
            Ok(None) => {}
            Ok(Some(path)) => {
                let remembered = remember(file, path, offset, i64::from(len));
                if remembered != ffi::SQLITE_OK {
                    return remembered;
                }
            }
            Err(code) => return code,
        }
        wrapped_file!(file, xWrite, from, len, offset)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    unsafe {
        match pass(file, Operation::Truncate, ffi::SQLITE_IOERR_TRUNCATE) {
            Ok(None) => {}
            Ok(Some(path)) => {
                let remembered = remember(file, path, size, i64::from(c_int::MAX));
                if remembered != ffi::SQLITE_OK {
                    return remembered;
                }
            }
            Err(code) => return code,
        }
        wrapped_file!(file, xTruncate, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let path = match pass(file, Operation::Sync, ffi::SQLITE_IOERR_FSYNC) {
            Ok(path) => path,
            Err(code) => return code,
        };
        let synced = wrapped_file!(file, xSync, flags);
        if synced == ffi::SQLITE_OK
            && let Some(path) = path
        {
            state(file).disk().synced(path);
        }
        synced
    }
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    unsafe {
        let state = app_data(vfs).state;
        if state.disk().pass(Operation::Delete).is_err() {
            return ffi::SQLITE_IOERR_DELETE;
        }
        state.disk().synced(&path(name));
        wrapped_vfs!(vfs, xDelete, name, sync_folder)
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe { wrapped_vfs!(vfs, xAccess, name, flags, out) }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    len: c_int,
    out: *mut c_char,
) -> c_int {
    unsafe { wrapped_vfs!(vfs, xFullPathname, name, len, out) }
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    unsafe { wrapped_vfs!(vfs, xRandomness, len, out) }
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    unsafe { wrapped_vfs!(vfs, xSleep, microseconds) }
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    unsafe { wrapped_vfs!(vfs, xCurrentTime, out) }
}

unsafe extern "C" fn current_time_int64(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    unsafe { wrapped_vfs!(vfs, xCurrentTimeInt64, out) }
}

unsafe extern "C" fn last_error(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    unsafe { wrapped_vfs!(vfs, xGetLastError, len, out) }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    unsafe { wrapped_file!(file, xFileSize, out) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { wrapped_file!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { wrapped_file!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { wrapped_file!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    op: c_int,
    argument: *mut c_void,
) -> c_int {
    unsafe { wrapped_file!(file, xFileControl, op, argument) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { wrapped_file!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { wrapped_file!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    unsafe { wrapped_file!(file, xShmMap, page, size, extend, out) }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    unsafe { wrapped_file!(file, xShmLock, offset, count, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    unsafe {
        let inner = inner(file);
        if let Some(barrier) = (*(*inner).pMethods).xShmBarrier {
            barrier(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    unsafe { wrapped_file!(file, xShmUnmap, delete) }
}
