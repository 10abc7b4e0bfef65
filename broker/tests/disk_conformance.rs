//! The real and the simulated disk keep the same promises, as long as nothing goes wrong.

use std::path::Path;

use bytes::Bytes;
use keylane_broker::disk::real::RealDisk;
use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::disk::{Disk, DiskError, OpenMode, read_small, replace_small};

fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check(&RealDisk, folder.path());
    check(&SimulatedDisk::new(1), Path::new("/"));
}

#[test]
fn slices_are_written_one_after_the_other_and_read_back() {
    on_both(|disk, folder| {
        let file = disk
            .open(&folder.join("a"), OpenMode::Create)
            .expect("created");
        let slices: Vec<Bytes> = (0..3000_u32)
            .map(|number| Bytes::from(number.to_be_bytes().to_vec()))
            .collect();
        disk.write(&file, 10, &slices).expect("written");
        assert_eq!(disk.size(&file), Ok(12_010));
        let read = disk.read(&file, 10, 12_000).expect("read");
        assert_eq!(read, slices.concat());
        assert_eq!(disk.read(&file, 0, 10).expect("read"), vec![0; 10]);
        assert_eq!(
            disk.read(&file, 12_005, 100)
                .expect("short at the end")
                .len(),
            5
        );
        assert!(
            disk.read(&file, 20_000, 1 << 40)
                .expect("nothing there")
                .is_empty()
        );
    });
}

#[test]
fn reserved_bytes_read_as_zeros_and_count_in_the_size() {
    on_both(|disk, folder| {
        let file = disk
            .open(&folder.join("a"), OpenMode::Create)
            .expect("created");
        disk.write(&file, 0, &[Bytes::from_static(b"begun")])
            .expect("written");
        disk.allocate(&file, 5, 100).expect("reserved");
        assert_eq!(disk.size(&file), Ok(105));
        assert_eq!(disk.read(&file, 0, 8).expect("read"), &b"begun\0\0\0"[..]);
        disk.set_length(&file, 3).expect("cut");
        disk.set_length(&file, 6).expect("grown");
        assert_eq!(disk.read(&file, 0, 10).expect("read"), &b"beg\0\0\0"[..]);
        disk.sync(&file).expect("synced");
    });
}

#[test]
fn folders_list_what_is_in_them_and_missing_things_are_named() {
    on_both(|disk, folder| {
        let inner = folder.join("inner");
        disk.create_folder(&inner).expect("created");
        disk.create_folder(&inner).expect("it may exist");
        replace_small(disk, &inner, "small", Bytes::from_static(b"one")).expect("written");
        replace_small(disk, &inner, "small", Bytes::from_static(b"two")).expect("replaced");
        assert_eq!(
            read_small(disk, &inner.join("small"), 10).expect("read"),
            &b"two"[..]
        );
        assert!(read_small(disk, &inner.join("small"), 2).is_err());
        let entries = disk.list(&inner).expect("listed");
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["small"]);
        assert!(
            disk.list(folder)
                .expect("listed")
                .iter()
                .any(|entry| entry.name == "inner" && entry.is_folder)
        );
        assert!(
            disk.remove_folder(&inner).is_err(),
            "a folder with entries stays"
        );
        disk.remove(&inner.join("small")).expect("removed");
        disk.remove_folder(&inner).expect("removed");
        assert_eq!(disk.remove(&inner.join("small")), Err(DiskError::NotFound));
        assert_eq!(disk.list(&inner).map(|_| ()), Err(DiskError::NotFound));
        assert_eq!(
            disk.open(&inner.join("x"), OpenMode::Create).map(|_| ()),
            Err(DiskError::NotFound)
        );
        assert_eq!(
            disk.open(&folder.join("x"), OpenMode::Read).map(|_| ()),
            Err(DiskError::NotFound)
        );
    });
}

#[test]
fn a_file_is_no_folder() {
    on_both(|disk, folder| {
        let path = folder.join("file");
        disk.open(&path, OpenMode::Create).expect("created");
        let not_a_folder = Err(DiskError::NotAFolder);
        assert_eq!(disk.create_folder(&path), not_a_folder);
        assert_eq!(disk.remove_folder(&path), not_a_folder);
        assert_eq!(disk.list(&path).map(|_| ()), not_a_folder);
        assert_eq!(
            disk.open(&path.join("x"), OpenMode::Create).map(|_| ()),
            not_a_folder
        );
    });
}

#[test]
fn a_lock_is_held_once_and_ends_with_its_handle() {
    on_both(|disk, folder| {
        let path = folder.join("lock");
        let lock = disk.lock(&path).expect("free");
        assert_eq!(disk.lock(&path).map(|_| ()), Err(DiskError::Locked));
        drop(lock);
        disk.lock(&path).expect("free again");
    });
}

#[test]
fn a_full_simulated_disk_refuses_and_changes_nothing() {
    let disk = SimulatedDisk::new(1);
    let file = disk
        .open(Path::new("/a"), OpenMode::Create)
        .expect("created");
    disk.plan(Fault::Full { bytes_max: 100 });
    disk.write(&file, 0, &[Bytes::from(vec![1; 90])])
        .expect("room");
    assert_eq!(
        disk.write(&file, 90, &[Bytes::from(vec![1; 20])]),
        Err(DiskError::NoSpace)
    );
    assert_eq!(disk.allocate(&file, 90, 20), Err(DiskError::NoSpace));
    assert_eq!(disk.size(&file), Ok(90));
}

#[test]
fn after_a_power_cut_old_handles_are_dead_and_synced_bytes_are_there() {
    let disk = SimulatedDisk::new(3);
    let file = disk
        .open(Path::new("/a"), OpenMode::Create)
        .expect("created");
    disk.write(&file, 0, &[Bytes::from(vec![7; 4096])])
        .expect("written");
    disk.sync(&file).expect("synced");
    disk.sync_folder(Path::new("/")).expect("synced");
    disk.write(&file, 4096, &[Bytes::from(vec![8; 64 * 1024])])
        .expect("written");
    disk.restart();
    assert_eq!(disk.sync(&file), Err(DiskError::PoweredOff));
    let file = disk
        .open(Path::new("/a"), OpenMode::Read)
        .expect("its creation was synced");
    assert_eq!(disk.read(&file, 0, 4096).expect("read"), vec![7; 4096]);
    let rest = disk.read(&file, 4096, 64 * 1024).expect("read");
    assert_ne!(
        rest,
        vec![8; 64 * 1024],
        "nothing of an unsynced write was lost"
    );
}
