/// Files and directories of proc(5).
import Glibc

enum ProcFile {
    /// Without their line feeds; none if the file cannot be read.
    static func lines(_ path: String) -> [String] {
        guard let file = fopen(path, "re") else { return [] }
        defer { fclose(file) }
        var lines: [String] = []
        var line: UnsafeMutablePointer<CChar>?
        var room = 0
        while getline(&line, &room, file) > 0 {
            if let line { lines.append(String(String(cString: line).prefix { $0 != "\n" })) }
        }
        free(line)
        return lines
    }

    /// The names in a directory; none if it cannot be read.
    static func names(_ directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names
    }
}
