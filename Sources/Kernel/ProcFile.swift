/// Tables of proc(5).
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
}
